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
    async fn respond(&mut self, echo: Msg<Echo>, context: &mut Context<Self>) -> Reply<Echo> {
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.keep(&echo).await
        {
            // Whoever asks learns of it: what is not in the journal is not served.
            tracing::error!(%error, "the journal has failed");
            context.stop();
            return context.defer(&echo).0.into();
        }
        echo.into()
    }
}
