//! Pages of the past: planned in order with what is stored, read off the thread.

use std::sync::Arc;

use actix::{AsyncContext, Context, Handler, ResponseFuture};
use log::{error, warn};

use super::JournalActor;
use crate::actors::messages::journal::{PageOfMessages, ReadPage};
use crate::model::{ErrorCode, PageQuery};
use crate::store::history::HistoryError;
use crate::wire::json::encode::EncodedMessage;

/// Rows that are read at once, at least, in the place of damaged ones.
const MIN_ROWS_READ_ON: usize = 64;

impl Handler<ReadPage> for JournalActor {
    type Result = ResponseFuture<Result<PageOfMessages, ErrorCode>>;

    /// Plans the page now, so that it stands in order with what is stored, and reads it off the thread.
    fn handle(&mut self, read: ReadPage, ctx: &mut Context<Self>) -> Self::Result {
        let newest = self.index.newest(&read.list).filter(|newest| Some(*newest) > read.newer_than);
        let plan = self.index.plan(&PageQuery {
            list: read.list.clone(),
            page: read.page,
            limit: read.limit,
            visible_from: read.newer_than,
            up_to: read.up_to,
        });
        let (permits, journal) = (Arc::clone(&self.page_reads), ctx.address());
        Box::pin(async move {
            let permit = permits.acquire_owned().await.map_err(|_| ErrorCode::ShuttingDown)?;
            let reading = tokio::task::spawn_blocking(move || {
                let page = plan.read()?;
                let messages: Vec<_> = page.rows.iter().map(EncodedMessage::of).collect();
                Ok((PageOfMessages { messages, more: page.more, newest }, page.damage, page.go_on))
            });
            let result: Result<_, HistoryError> = reading.await.map_err(|_| ErrorCode::Internal)?;
            drop(permit);
            let (mut page, damage, go_on) = result.map_err(|why| {
                error!(by = "the journal"; "a page could not be read: {why}");
                ErrorCode::StorageUnavailable
            })?;
            for damage in damage {
                warn!("{damage}");
            }
            if let Some(go_on) = go_on {
                let missing = read.limit.saturating_sub(page.messages.len());
                // Where much is damaged, not row by row.
                let limit = missing.max(MIN_ROWS_READ_ON);
                let beyond = journal.send(ReadPage { page: go_on, limit, ..read }).await;
                page.add(beyond.map_err(|_| ErrorCode::ShuttingDown)??, go_on, missing);
            }
            Ok(page)
        })
    }
}
