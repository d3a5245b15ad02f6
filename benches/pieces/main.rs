//! The pieces of the hot path, each alone: `cargo bench -p veche-bench --bench pieces`.
//!
//! They tell where a microsecond of a delivery goes, and whether a change to a piece brought something.
//! What the whole costs is for `veche-bench` to say.

#![allow(missing_docs, reason = "criterion_group! makes a public function without a comment")]

use std::hint::black_box;
use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tokio_util::codec::{Decoder, Encoder};

use veche::chat::session::outbox::Outbox;
use veche::codec::{DEFAULT_MAX_FRAME_BYTES, FrameCodec};
use veche::config::Durability;
use veche::disk;
use veche::model::{
    MessageId, MessageKind, MessageList, MessageText, Page, PageQuery, Reply, RoomName, Spellings,
    StoredMessage, Target, Timestamp, UserName,
};
use veche::store::history::{self, HistoryIndex, HistoryOptions, Opened};
use veche::wire::Wire;
use veche::wire::json::encode;
use veche::wire::json::raw::RawRequest;

const BATCH: u64 = 64;
const ROWS: u64 = 100_000;
const ROOMS: u64 = 1_000;

fn say(text: &str) -> Vec<u8> {
    format!(r#"{{"type":"say","token":"{}","room":"r12","text":"{text}"}}"#, "t".repeat(43)).into_bytes()
}

fn text() -> String {
    "with about as many words as people use in a chat; some say more, ".repeat(2)[..128].to_owned()
}

fn row(id: u64) -> StoredMessage {
    let room = id % ROOMS;
    StoredMessage {
        id: MessageId::new(id).expect("ids are small here"),
        prev: MessageId::new(id.saturating_sub(ROOMS)),
        at: Timestamp::from_millis(1_795_284_321_311 + id as i64),
        target: Target::Room(RoomName::parse(&format!("r{room}")).expect("a letter and digits")),
        from: UserName::parse(&format!("u{}", id % 2_000)).expect("a letter and digits"),
        kind: MessageKind::Text(MessageText::parse(&text()).expect("short and plain")),
        key: None,
    }
}

fn rows(count: u64) -> Vec<StoredMessage> {
    (1..=count).map(row).collect()
}

fn codec(criterion: &mut Criterion) {
    let payload = say(&text());
    let mut wire = BytesMut::new();
    for _ in 0..BATCH {
        FrameCodec::default().encode(&payload, &mut wire).expect("under the bound");
    }
    let mut group = criterion.benchmark_group("codec, 64 frames");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("peek", |bencher| {
        bencher.iter(|| {
            let (codec, mut at) = (FrameCodec::default(), 0);
            while let Ok(Some((payload, used))) = codec.peek(&wire[at..]) {
                black_box(payload);
                at += used;
            }
        });
    });
    group.bench_function("decode", |bencher| {
        let decode = |mut wire: BytesMut| {
            while let Ok(Some(payload)) = FrameCodec::default().decode(&mut wire) {
                black_box(payload);
            }
        };
        bencher.iter_batched(|| wire.clone(), decode, BatchSize::SmallInput);
    });
    group.finish();
}

fn parse(criterion: &mut Criterion) {
    let spellings = Spellings::default();
    for (name, text) in [("plain", text()), ("escaped", r#"a \"quote\" and a ü, "#.repeat(5))] {
        let payload = say(&text);
        criterion.bench_function(&format!("parse a say, {name}"), |bencher| {
            bencher.iter(|| {
                let raw = RawRequest::parse(black_box(&payload)).expect("a say is valid");
                let kind = raw.kind().expect("say is a request");
                raw.to_request(kind, &spellings).expect("a say is valid")
            });
        });
    }
}

fn encoding(criterion: &mut Criterion) {
    let rows = rows(BATCH);
    let mut group = criterion.benchmark_group("encode, 64 messages");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("events, joined", |bencher| {
        bencher.iter(|| encode::messages(&rows));
    });
    group.bench_function("receipts", |bencher| {
        bencher.iter(|| {
            for row in &rows {
                black_box(encode::reply(
                    Wire::Native,
                    &Reply::Receipt(row.receipt()),
                    None,
                    DEFAULT_MAX_FRAME_BYTES,
                ));
            }
        });
    });
    group.finish();
}

fn outbox(criterion: &mut Criterion) {
    let frames = Bytes::from(vec![b'x'; 16_000]);
    criterion.bench_function("outbox: push, slice, advance", |bencher| {
        let mut outbox = Outbox::default();
        bencher.iter(|| {
            outbox.push(frames.clone(), 1 << 20).expect("under the bound");
            let mut slices = [IoSlice::new(&[]); 64];
            let count = outbox.slices(&mut slices);
            black_box(&slices[..count]);
            outbox.advance(frames.len());
        });
    });
}

fn open(dir: &tempfile::TempDir) -> Opened {
    let options = HistoryOptions { now: Timestamp::now(), key_seconds: 120, keys_per_account: 1_000 };
    history::open(&disk::real::open_folder(dir.path()).expect("it is there"), options)
        .expect("a folder of our own")
}

fn disk(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("there is a folder for temporary files");
    let rows = rows(ROWS);
    let mut opened = open(&dir);
    let mut placed = Vec::new();
    for batch in rows.chunks(1_000) {
        placed.extend(opened.writer.commit(batch, Durability::Os).expect("the disk takes it"));
    }
    let mut group = criterion.benchmark_group("history, 100 000 rows");
    group.sample_size(20).throughput(Throughput::Elements(ROWS));
    group.bench_function("rows in: open", |bencher| bencher.iter(|| open(&dir)));
    group.bench_function("index: record", |bencher| {
        bencher.iter(|| {
            let mut index = HistoryIndex::default();
            rows.iter().zip(&placed).for_each(|(row, position)| index.record(row, position.clone()));
            index
        });
    });
    group.finish();
    let (index, list) =
        (open(&dir).index, MessageList::Room(RoomName::parse("r12").expect("a letter and digits")));
    let page = Page::Before(MessageId::new(ROWS / 2));
    let query = PageQuery { list, page, limit: 50, visible_from: None, up_to: None };
    let mut group = criterion.benchmark_group("a page of 50");
    group.bench_function("plan", |bencher| bencher.iter(|| index.plan(&query)));
    group.bench_function("plan and read", |bencher| {
        bencher.iter(|| index.plan(&query).read().expect("the rows are there"));
    });
    group.finish();
    rows_out(criterion);
}

/// Ids have to grow, so each batch is of rows that are not there yet.
fn rows_out(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("there is a folder for temporary files");
    let (mut opened, mut next) = (open(&dir), 1);
    let mut batch = || {
        next += BATCH;
        (next - BATCH..next).map(row).collect::<Vec<StoredMessage>>()
    };
    let mut group = criterion.benchmark_group("rows out, 64 in a batch");
    group.sample_size(20).throughput(Throughput::Elements(BATCH));
    for (name, durability) in [("os", Durability::Os), ("fsync", Durability::Fsync)] {
        group.bench_function(name, |bencher| {
            let writer = &mut opened.writer;
            let commit =
                |rows: Vec<StoredMessage>| writer.commit(&rows, durability).expect("the disk takes it");
            bencher.iter_batched(&mut batch, commit, BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(pieces, codec, parse, encoding, outbox, disk);
criterion_main!(pieces);
