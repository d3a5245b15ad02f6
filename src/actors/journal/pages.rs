//! Pages of the past: planned in order with what is stored, read off the thread.

use std::sync::Arc;

use actix::{AsyncContext, Context, Handler, ResponseFuture};
use log::{error, warn};

use super::JournalActor;
use crate::actors::messages::journal::{PageAnswer, ReadPage};
use crate::model::{ErrorCode, PageQuery};
use crate::store::log::PageRead;

/// Messages that are read at once, at least, in the place of damaged ones.
const MIN_READ_ON: usize = 64;

impl Handler<ReadPage> for JournalActor {
    type Result = ResponseFuture<Result<PageAnswer, ErrorCode>>;

    /// Plans the page now, so that it stands in order with what is stored, and reads it off the thread.
    fn handle(&mut self, ReadPage(query): ReadPage, ctx: &mut Context<Self>) -> Self::Result {
        let newest = self.log.newest(&query.list).filter(|newest| Some(*newest) > query.visible_from);
        let plan = self.log.plan(&query);
        let (permits, journal) = (Arc::clone(&self.page_reads), ctx.address());
        Box::pin(async move {
            let permit = permits.acquire_owned().await.map_err(|_| ErrorCode::ShuttingDown)?;
            let reading = tokio::task::spawn_blocking(move || plan.read());
            let result = reading.await.map_err(|_| ErrorCode::Internal)?;
            drop(permit);
            let PageRead { mut page, damage, go_on } = result.map_err(|why| {
                error!(by = "the journal"; "a page could not be read: {why}");
                ErrorCode::StorageUnavailable
            })?;
            for damage in damage {
                warn!("{damage}");
            }
            if let Some(go_on) = go_on {
                let missing = query.limit.saturating_sub(page.messages.len());
                // Where much is damaged, not message by message.
                let limit = missing.max(MIN_READ_ON);
                let beyond = journal.send(ReadPage(PageQuery { page: go_on, limit, ..query })).await;
                page.join(beyond.map_err(|_| ErrorCode::ShuttingDown)??.page, go_on, missing);
            }
            Ok(PageAnswer { page, newest })
        })
    }
}
