//! An actor's tasks end with it, whatever they were about.

use annulus::{Down, StopMode, prelude::*};
use annulus_tests::{Shared, eventually};

#[message]
struct Begin {
    mate: ActorRef<(End,)>,
    listener: ActorRef<(Word, Down)>,
}

/// Ends the actor that it is about, and then answers.
#[message(reply = ())]
struct End {
    me: ActorRef<(Begin,)>,
    kill: bool,
}

#[message]
struct Word;

/// Has a task that asks somebody to end it, and has a last word.
struct Owner {
    kill: bool,
}

impl Actor for Owner {
    type Protocol = (Begin,);
}

impl Handler<Begin> for Owner {
    async fn handle(&mut self, begin: Msg<Begin>, context: &mut Context<Self>) {
        let Begin { mate, listener } = begin.decode();
        let (me, kill) = (context.me(), self.kill);
        context.task(move |_| async move {
            let _ = mate.ask(End { me, kill }).await;
            let _ = listener.tell(Word);
        });
    }
}

struct Mate;

impl Actor for Mate {
    type Protocol = (End,);
}

impl Handler<End> for Mate {
    async fn handle(&mut self, end: Msg<End>, _: &mut Context<Self>) {
        let End { me, kill } = end.decode();
        me.stop(if kill { StopMode::Kill } else { StopMode::Stop }).unwrap();
    }
}

struct Listener {
    watches: ActorRef<(Begin,)>,
    heard: Shared<&'static str>,
}

impl Actor for Listener {
    type Protocol = (Word, Down);

    async fn started(&mut self, context: &mut Context<Self>) {
        context.watch(self.watches).unwrap();
    }
}

impl Handler<Word> for Listener {
    async fn handle(&mut self, _: Msg<Word>, _: &mut Context<Self>) {
        self.heard.push("word");
    }
}

impl Handler<Down> for Listener {
    async fn handle(&mut self, _: Msg<Down>, _: &mut Context<Self>) {
        self.heard.push("down");
    }
}

#[test]
fn p05_p06_a_task_says_nothing_after_its_actor_is_down() {
    let node = Node::builder("ann").workers(1).start().unwrap();
    for kill in [false, true] {
        let owner = node.spawn(Owner { kill }).unwrap();
        let heard = Shared::default();
        let listener = node.spawn(Listener { watches: owner, heard: heard.clone() }).unwrap();
        let mate = node.spawn(Mate).unwrap();
        let told = node.run(async move || owner.tell(Begin { mate, listener }).is_ok());
        assert_eq!(told, Ok(true));
        eventually("it is down", || heard.all().contains(&"down"));
        // What would come behind it has come by now.
        node.run(async move || mate.ask(End { me: owner, kill }).await.is_ok()).unwrap();
        assert_eq!(heard.all().last(), Some(&"down"), "{:?}", heard.all());
    }
}
