//! What comes of messages for an actor whose mailbox is full, or that has done something else meanwhile: they keep
//! their order (P1), come once (P3), and who waits for room costs nothing (P10).
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{AskError, MailboxLimits, broadcast, prelude::*};
use annulus_tests::{
    PATIENCE, Shared, eventually,
    messages::{Fail, Nap, Number, Ping},
    start_polling, total,
};

fn number(number: u64) -> Number {
    Number { number }
}

/// An actor with one place, which notes what it handles.
#[derive(Clone, Default)]
struct Narrow {
    heard: Shared<u64>,
}

impl Actor for Narrow {
    type Protocol = (Number, Nap, Fail);
    const MAILBOX: MailboxLimits = MailboxLimits { messages: 1, ..MailboxLimits::DEFAULT };
}

impl Handler<Number> for Narrow {
    async fn handle(&mut self, said: Msg<Number>, _: &mut Context<Self>) -> Number {
        self.heard.push(said.number.to_native());
        said.decode()
    }
}

impl Handler<Nap> for Narrow {
    async fn handle(&mut self, nap: Msg<Nap>, context: &mut Context<Self>) {
        context.sleep(Duration::from_millis(nap.millis.to_native())).await;
    }
}

impl Handler<Fail> for Narrow {
    async fn handle(&mut self, _: Msg<Fail>, _: &mut Context<Self>) {
        panic!("on purpose");
    }
}

/// Does something to a narrow actor, within one handler.
struct Speaker<F>(F);

impl<F: AsyncFnMut() + 'static> Actor for Speaker<F> {
    type Protocol = (Ping,);
}

impl<F: AsyncFnMut() + 'static> Handler<Ping> for Speaker<F> {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {
        (self.0)().await;
    }
}

/// Has an actor of the first worker say something to a narrow one of the second.
fn heard_from(
    says: impl AsyncFnMut(ActorRef<(Number, Nap, Fail)>) + Send + Clone + 'static,
    count: usize,
) -> Vec<u64> {
    let node = Node::builder("ann").workers(2).start().unwrap();
    let heard = Shared::default();
    let narrow = node.spawn_on(1, Narrow { heard: heard.clone() }).unwrap();
    let made = move || {
        let mut says = says.clone();
        Speaker(async move || says(narrow).await)
    };
    let speaker = node.spawn_with(0, made).unwrap();
    node.run(async move || speaker.ask(Ping).await.map(|_| ())).unwrap().unwrap();
    heard.wait_for(count)
}

#[test]
fn p01_nothing_overtakes_a_broadcast_that_finds_a_full_mailbox() {
    let heard = heard_from(
        async |narrow| {
            for told in [0, 1, 2] {
                broadcast(&[narrow], &number(told)).unwrap();
            }
            narrow.tell(number(3)).unwrap();
        },
        4,
    );
    assert_eq!(heard, [0, 1, 2, 3]);
}

#[test]
fn p01_nothing_overtakes_an_ask_that_finds_a_full_mailbox() {
    let heard = heard_from(
        async |narrow| {
            broadcast(&[narrow], &number(0)).unwrap();
            // From within a handler an ask says more than its header.
            let mut asked = narrow.ask(number(1));
            let polled = std::future::poll_fn(|context| {
                std::task::Poll::Ready(std::pin::Pin::new(&mut asked).poll(context).is_pending())
            });
            assert!(polled.await);
            narrow.tell(number(2)).unwrap();
            asked.await.unwrap();
        },
        3,
    );
    assert_eq!(heard, [0, 1, 2]);
}

#[test]
fn p08_an_ask_of_an_actor_that_fails_with_a_full_mailbox_ends_at_once() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    for _ in 0..20 {
        let narrow = node.spawn_on(1, Narrow::default()).unwrap();
        let outcome = Shared::default();
        let asker = {
            let outcome = outcome.clone();
            let ask = move || {
                let outcome = outcome.clone();
                Speaker(async move || {
                    broadcast(&[narrow], &Fail).unwrap();
                    // Sent together with what makes it fail.
                    outcome.push(narrow.ask(number(1)).await.map(|_| ()).unwrap_err());
                })
            };
            node.spawn_with(0, ask).unwrap()
        };
        node.run(async move || asker.tell(Ping)).unwrap().unwrap();
        assert_eq!(outcome.wait_for(1), [AskError::Dead]);
    }
}

#[test]
fn p10_who_waits_for_room_within_a_handler_lets_its_worker_sleep() {
    let node = Node::builder("ann").start().unwrap();
    let heard = Shared::default();
    let narrow = node.spawn(Narrow { heard: heard.clone() }).unwrap();
    let waiter = node
        .spawn_with(0, move || {
            Speaker(async move || {
                narrow.send(number(2)).await.unwrap();
            })
        })
        .unwrap();
    node.run(async move || {
        narrow.tell(Nap { millis: 2000 }).unwrap();
        while narrow.tell(number(1)).is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        waiter.tell(Ping).unwrap();
    })
    .unwrap();
    // It is asked from outside, and sleeps in between, while the first one naps.
    let before = total(&node, |stats| stats.parks);
    eventually("the worker sleeps", || total(&node, |stats| stats.parks) > before + 2);
    assert_eq!(heard.len(), 0, "this took longer than the nap");
    assert_eq!(heard.wait_for(2), [1, 2]);
    node.shutdown(PATIENCE).unwrap();
}

#[test]
fn p10_room_of_an_ask_that_was_given_up_wakes_who_waits_for_it() {
    let node = Node::builder("ann").start().unwrap();
    let heard = Shared::default();
    let narrow = node.spawn(Narrow { heard: heard.clone() }).unwrap();
    let sender = node
        .spawn_with(0, move || Speaker(async move || narrow.send(number(2)).await.unwrap()))
        .unwrap();
    let outcome = node.run(async move || {
        narrow.tell(Nap { millis: 300 }).unwrap();
        let mut asked = loop {
            // Once it naps there is a place for this, and it has the place.
            match start_polling(narrow.ask(number(1)).within(Duration::from_millis(100))).await {
                Err(asked) => break asked,
                Ok(_) => sleep(Duration::from_millis(1)).await,
            }
        };
        sender.tell(Ping).unwrap();
        asked.as_mut().await.map(|_| ())
    });
    assert_eq!(outcome.unwrap(), Err(AskError::Timeout));
    assert_eq!(heard.wait_for(1), [2]);
}

/// Adds up what it is told, and has tasks.
#[derive(Default)]
struct Sum(u64);

impl Actor for Sum {
    type Protocol = (Number, Add, Ping);
}

#[message]
struct Add(u64);

impl Handler<Add> for Sum {
    async fn handle(&mut self, add: Msg<Add>, _: &mut Context<Self>) {
        self.0 += add.0.to_native();
    }
}

impl Handler<Number> for Sum {
    async fn handle(&mut self, _: Msg<Number>, _: &mut Context<Self>) -> Number {
        number(self.0)
    }
}

impl Handler<Ping> for Sum {
    async fn handle(&mut self, _: Msg<Ping>, context: &mut Context<Self>) {
        context.task(|access| async move {
            access.with(|_, _| ()).await.unwrap();
        });
    }
}

#[test]
fn p03_nothing_comes_again_after_a_section_of_a_task() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    let sum = node.spawn_on(1, Sum::default()).unwrap();
    for round in 1..=50 {
        // Several wait at the same time, so they need places for more than one.
        let told = node.run_on(1, async move || (0..9).all(|_| sum.tell(Add(1)).is_ok()));
        assert!(told.unwrap());
        node.run_on(1, async move || sum.ask(Ping).await.map(|_| ())).unwrap().unwrap();
        eventually("the task has ended", || total(&node, |stats| stats.tasks as u64) == 0);
        let said = node.run_on(0, async move || {
            sum.tell(Add(5)).unwrap();
            sum.ask(number(0)).await.map(|said| said.number.to_native())
        });
        assert_eq!(said.unwrap(), Ok(round * 14));
    }
}
