//! The server under small requests, against another server under the same load.

use anyhow::Result;

use super::compare::{Comparison, Row, Unit, compare};
use super::load::{Load, Request};
use super::roles::{Job, ServerProcess};
use super::{Scale, peer};

pub(super) fn group(scale: Scale) -> Result<Vec<Row>> {
    let (ours, theirs) = (ServerProcess::start()?, peer::start()?);
    [
        (Request::AppendBytes, "append of 100 bytes"),
        (Request::AppendJson, "append of a JSON message of 100 bytes"),
        (Request::Get, "GET of 100 bytes"),
        (Request::Head, "HEAD"),
    ]
    .into_iter()
    .map(|(request, what)| {
        let requests = scale.of(80_000);
        let job = |server: &ServerProcess| {
            Job::Load(Load { request, port: server.port, root: server.root.to_owned(), pid: server.pid(), requests })
        };
        compare(
            scale,
            Comparison {
                what: format!("server: {what}, 16 connections"),
                yardstick: peer::NAME,
                aim: Some(0.8),
                amount: requests,
                unit: Unit::Million,
                ours: job(&ours),
                theirs: job(&theirs),
            },
        )
    })
    .collect()
}
