//! Data files as they are written.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::CHUNK;
use crate::storage::blocks::Block;
use crate::storage::log::Shared;
use crate::storage::log::disk::DiskFile;
use crate::storage::log::format::{Header, Kind, data_name};
use crate::storage::log::parts::Parts;
use crate::storage::log::run::{self, RunRef};

/// A data file in the making. It is there only if something was put into it.
pub(super) struct DataFile<'a> {
    shared: &'a Shared,
    next_file: &'a mut u64,
    open: Option<(u64, Arc<dyn DiskFile>)>,
    /// What is not written yet, and where it goes.
    out: Parts,
    at: u64,
}

impl<'a> DataFile<'a> {
    pub(super) fn new(shared: &'a Shared, next_file: &'a mut u64) -> Self {
        Self { shared, next_file, open: None, out: Parts::default(), at: 0 }
    }

    /// Appends the blocks of a stream, as one run if they are not too long, whose data stays in segment `log` if that is not 0.
    pub(super) fn put_all(&mut self, stream: u64, mut blocks: &[Block], log: u32) -> io::Result<Vec<RunRef>> {
        let mut runs = Vec::with_capacity(1);
        while let Some(first) = blocks.first() {
            let fits = blocks.partition_point(|block| block.end() - first.start() <= run::LARGEST).max(1);
            let (these, rest) = blocks.split_at(fits);
            runs.push(self.put(|out| run::encode(out, stream, these, log))?);
            blocks = rest;
        }
        Ok(runs)
    }

    /// Appends what a run has in another file.
    pub(super) fn put_as_it_is(&mut self, run: RunRef, bytes: &Bytes) -> io::Result<RunRef> {
        self.put(|out| {
            let offset = out.len() as u64;
            out.put(bytes);
            RunRef { offset, ..run }
        })
    }

    fn put(&mut self, encode: impl FnOnce(&mut Parts) -> RunRef) -> io::Result<RunRef> {
        let number = match &self.open {
            Some((number, _)) => *number,
            None => {
                let number = *self.next_file;
                *self.next_file += 1;
                self.open = Some((number, self.shared.disk.create(&data_name(number))?));
                self.out.small().extend_from_slice(&Header { kind: Kind::Data, number, first: 0 }.encode());
                number
            }
        };
        let run = encode(&mut self.out);
        let run = RunRef { file: number, offset: self.at + run.offset, ..run };
        if self.out.len() >= CHUNK {
            self.write()?;
        }
        Ok(run)
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some((_, file)) = &self.open {
            file.write_parts_at(self.at, &self.out.slices())?;
        }
        self.at += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    /// Makes it durable.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.write()?;
        if let Some((number, file)) = self.open.take() {
            file.sync()?;
            self.shared.disk.sync_names()?;
            self.shared.files.add(number, self.at);
        }
        Ok(())
    }
}

impl Drop for DataFile<'_> {
    fn drop(&mut self) {
        // It was given up; nothing names it.
        if let Some((number, _)) = self.open.take() {
            let _ = self.shared.disk.remove(&data_name(number));
        }
    }
}
