//! Checksums of runs.

use super::BLOCK;
use super::reader::Part;
use crate::storage::blocks::Block;

/// Computes checksums of a run's parts.
#[derive(Clone, Copy)]
pub(super) struct Seal {
    pub(super) stream: u64,
    pub(super) start: u64,
}

impl Seal {
    fn hasher(self, block: usize) -> crc32fast::Hasher {
        let mut place = [0; 24];
        place[..8].copy_from_slice(&self.stream.to_le_bytes());
        place[8..16].copy_from_slice(&self.start.to_le_bytes());
        place[16..].copy_from_slice(&(block as u64).to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&place);
        hasher
    }

    /// The checksums of blocks of these sizes, of which `low` is the first and whose data comes in pieces of any size.
    pub(super) fn of_blocks(
        self,
        low: usize,
        parts: &[Part],
        sizes: impl Iterator<Item = usize>,
    ) -> impl Iterator<Item = u32> {
        let (mut parts, mut rest) = (parts.iter(), &[][..]);
        sizes.enumerate().map(move |(number, mut missing)| {
            let mut hasher = self.hasher(low + number);
            while missing > 0 {
                if rest.is_empty() {
                    let Some(next) = parts.next() else { break };
                    rest = &next.data;
                }
                let (here, after) = rest.split_at(missing.min(rest.len()));
                hasher.update(here);
                (missing, rest) = (missing - here.len(), after);
            }
            hasher.finalize()
        })
    }

    /// The checksums of all data, block by block, as which it need not lie in memory.
    pub(super) fn all_data(self, pieces: &[Block]) -> Vec<u32> {
        let mut crcs = Vec::new();
        let (mut hasher, mut room) = (self.hasher(0), BLOCK);
        for piece in pieces {
            let mut data = &piece.data()[..];
            while let Some((here, rest)) = data.split_at_checked(room) {
                hasher.update(here);
                let next = self.hasher(crcs.len() + 1);
                crcs.push(std::mem::replace(&mut hasher, next).finalize());
                (data, room) = (rest, BLOCK);
            }
            hasher.update(data);
            room -= data.len();
        }
        crcs.push(hasher.finalize());
        crcs
    }

    pub(super) fn ends(self, block: usize, first: u32, next: u32, raw: &[u8]) -> u32 {
        let mut hasher = self.hasher(block);
        hasher.update(&first.to_le_bytes());
        hasher.update(&next.to_le_bytes());
        hasher.update(raw);
        hasher.finalize()
    }
}
