//! Two nodes, one typed question.

use annulus::prelude::*;

#[message(reply = Said)]
pub struct Say {
    text: String,
}

#[message]
pub struct Said {
    text: String,
    served: u64,
}

const ECHO: Name<(Say,)> = Name::new("echo");

struct Echo {
    served: u64,
}

impl Actor for Echo {
    type Protocol = (Say,);
}

impl Handler<Say> for Echo {
    async fn handle(&mut self, say: Msg<Say>, _: &mut Context<Self>) -> Said {
        self.served += 1;
        Said { text: say.text.to_string(), served: self.served }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ann = Node::builder("ann").listen("tcp://127.0.0.1:0").start()?;
    let bob = Node::builder("bob").join(&ann.endpoints()[0]).start()?;
    let echo = ann.spawn(Echo { served: 0 })?;
    ann.run(async move || ECHO.register(echo).await)??;
    let said = bob.run(async || {
        let echo = ECHO.find_on("ann", Duration::from_secs(5)).await.map_err(|e| e.to_string())?;
        let said = echo.ask(Say { text: "hi".into() }).within(Duration::from_secs(1));
        said.await.map(|said| said.decode()).map_err(|e| e.to_string())
    })??;
    println!("{} (served: {})", said.text, said.served);
    Ok(())
}
