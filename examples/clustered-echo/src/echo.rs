//! The echo actor.

use annulus::prelude::*;

use crate::{
    journal::Journal,
    messages::{Echo, EchoProtocol},
};

/// Gives back what it gets: the same bytes, neither decoded nor copied.
pub(crate) struct EchoActor {
    pub(crate) journal: Option<Journal>,
}

impl Actor for EchoActor {
    type Protocol = EchoProtocol;
}

impl Respond<Echo> for EchoActor {
    async fn respond(&mut self, echo: Msg<Echo>, _: &mut Context<Self>) -> Reply<Echo> {
        if let Some(journal) = &mut self.journal {
            journal.keep(&echo).await;
        }
        echo.into()
    }
}
