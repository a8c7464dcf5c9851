use annulus::prelude::*;

#[message(reply = Said)]
pub struct Say {
    text: String,
}

#[message]
pub struct Said {
    text: String,
}

const ECHO: Name<(Say,)> = Name::new("echo");

struct Echo;

impl Actor for Echo {
    type Protocol = (Say,);
}

impl Handler<Say> for Echo {
    async fn handle(&mut self, say: Msg<Say>, _: &mut Context<Self>) -> Said {
        Said { text: format!("{}, {}!", say.text, say.text) }
    }
}

fn main() -> Result<(), Error> {
    let ann = Node::builder("ann").listen("tcp://127.0.0.1:0").start()?;
    let bob = Node::builder("bob").join(&ann.endpoints()[0]).start()?;
    let echo = ann.spawn(Echo)?;
    ann.run(async move || ECHO.register(echo).await)??;
    let said = bob.run(async || {
        let echo = ECHO.find_on("ann", Duration::from_secs(5)).await?;
        Ok::<_, Error>(echo.ask(Say { text: "hello".into() }).await?.decode())
    })??;
    println!("{}", said.text);
    Ok(())
}
