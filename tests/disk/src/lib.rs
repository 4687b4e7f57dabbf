//! A disk that does what disks do when the power goes: it loses, tears and reorders what was not synced. It
//! can also be full, and fail.
//!
//! The crash suite of the server, the simulation and the fuzz target `recovery` put it below the storage `log`.

mod server;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use everstream_server::storage::{Disk, DiskFile};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

pub use self::server::{SteppedServer, Work, poll};

const SECTOR: usize = 512;

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<World>>);

struct World {
    rng: SmallRng,
    files: HashMap<u64, Contents>,
    next_file: u64,
    /// As programs see them, and as they are on the platter.
    names: BTreeMap<String, u64>,
    safe_names: BTreeMap<String, u64>,
    /// Changes of names that are not on the platter, oldest first.
    name_changes: Vec<NameChange>,
    /// Operations until the power goes.
    fuse: Option<u64>,
    dead: bool,
    /// Bytes that all files together may have.
    capacity: Option<u64>,
    /// How many of 1,000 writes and syncs fail.
    failures: u32,
}

#[derive(Default)]
struct Contents {
    /// As programs see it.
    seen: Vec<u8>,
    /// On the platter.
    safe: Vec<u8>,
    /// Not on the platter, oldest first.
    changes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

enum NameChange {
    Set(String, u64),
    Remove(String),
}

fn contents(files: &mut HashMap<u64, Contents>, file: u64) -> &mut Contents {
    files.get_mut(&file).expect("a file that is open or has a name is kept until the power goes")
}

fn write(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if data.len() < at + bytes.len() {
        data.resize(at + bytes.len(), 0);
    }
    data[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Change {
    fn apply(&self, data: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => write(data, *at, bytes),
            Self::Truncate(len) => data.resize(*len, 0),
        }
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Set(name, file) => drop(names.insert(name, file)),
            Self::Remove(name) => drop(names.remove(&name)),
        }
    }
}

impl SimDisk {
    /// An empty one; the seed draws what it loses and when it fails.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World {
            rng: SmallRng::seed_from_u64(seed),
            files: HashMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            safe_names: BTreeMap::new(),
            name_changes: Vec::new(),
            fuse: None,
            dead: false,
            capacity: None,
            failures: 0,
        })))
    }

    /// All files as they are, under their names.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let world = self.world();
        world.names.iter().map(|(name, file)| (name.clone(), world.files[file].seen.clone())).collect()
    }

    /// A disk with these files, all of them safe.
    pub fn of(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let disk = Self::new(0);
        {
            let mut world = disk.world();
            for (number, (name, data)) in files.iter().enumerate() {
                let number = number as u64;
                world.files.insert(number, Contents { seen: data.clone(), safe: data.clone(), changes: Vec::new() });
                world.names.insert(name.clone(), number);
            }
            world.next_file = files.len() as u64;
            world.safe_names = world.names.clone();
        }
        disk
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes at the given operation from now.
    pub fn fuse(&self, operations: impl Into<Option<u64>>) {
        self.world().fuse = operations.into();
    }

    /// As many bytes fit, all files together; `None` is no limit.
    pub fn capacity(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    /// So many of 1,000 writes and syncs fail from now on.
    pub fn failures(&self, of_1000: u32) {
        self.world().failures = of_1000;
    }

    /// How many bytes all files together have.
    pub fn used(&self) -> u64 {
        self.world().used()
    }

    /// Whether the power is gone.
    pub fn is_dead(&self) -> bool {
        self.world().dead
    }

    /// The power comes back: what was not synced is there in part, and in no order.
    pub fn restart(&self) {
        self.world().restart();
    }
}

impl World {
    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[file].seen.len() as u64).sum()
    }

    /// One more operation; an error if there is no power for it.
    fn step(&mut self) -> io::Result<()> {
        if let Some(fuse) = &mut self.fuse {
            if *fuse == 0 {
                self.dead = true;
            } else {
                *fuse -= 1;
            }
        }
        if self.dead { Err(io::Error::other("no power")) } else { Ok(()) }
    }

    fn fails(&mut self) -> bool {
        self.failures > 0 && self.rng.random_range(0..1000) < self.failures
    }

    fn write(&mut self, file: u64, at: usize, data: &[u8]) -> io::Result<()> {
        let went = self.step();
        let mut fits = data.len();
        if let Some(capacity) = self.capacity {
            let grows = (at + data.len()).saturating_sub(self.files[&file].seen.len()) as u64;
            let over = (self.used() + grows).saturating_sub(capacity) as usize;
            fits = fits.saturating_sub(over);
        }
        if went.is_err() || self.fails() {
            fits = self.rng.random_range(0..=fits);
        }
        let contents = contents(&mut self.files, file);
        write(&mut contents.seen, at, &data[..fits]);
        contents.changes.push(Change::Write(at, data[..fits].to_vec()));
        went?;
        match fits == data.len() {
            true => Ok(()),
            false if self.capacity.is_some() => Err(io::ErrorKind::StorageFull.into()),
            false => Err(io::Error::other("write failed")),
        }
    }

    fn sync(&mut self, file: u64) -> io::Result<()> {
        let went = self.step();
        let lost = went.is_err() || self.fails();
        let contents = contents(&mut self.files, file);
        for change in std::mem::take(&mut contents.changes) {
            // A sync that failed leaves pages that look clean: no later one writes them.
            if !lost || self.rng.random_bool(0.5) {
                change.apply(&mut contents.safe);
            } else if went.is_err() {
                contents.changes.push(change);
            }
        }
        went?;
        if lost { Err(io::Error::other("sync failed")) } else { Ok(()) }
    }

    fn restart(&mut self) {
        let how = self.rng.random_range(0..4);
        // In an order that a seed decides, which that of the table is not.
        let mut files: Vec<_> = self.files.iter_mut().collect();
        files.sort_unstable_by_key(|(file, _)| **file);
        for (_, contents) in files {
            let changes = std::mem::take(&mut contents.changes);
            match how {
                // Nothing of it; all of it.
                0 => {}
                1 => changes.iter().for_each(|change| change.apply(&mut contents.safe)),
                // Up to some place; any sectors in any order.
                2 => {
                    let kept = self.rng.random_range(0..=changes.len());
                    changes[..kept].iter().for_each(|change| change.apply(&mut contents.safe));
                    if let Some(Change::Write(at, data)) = changes.get(kept) {
                        write(&mut contents.safe, *at, &data[..self.rng.random_range(0..=data.len())]);
                    }
                }
                _ => {
                    for change in &changes {
                        match change {
                            Change::Write(at, data) => {
                                for (sector, data) in data.chunks(SECTOR).enumerate() {
                                    if self.rng.random_bool(0.5) {
                                        write(&mut contents.safe, at + sector * SECTOR, data);
                                    }
                                }
                            }
                            Change::Truncate(_) if self.rng.random_bool(0.5) => change.apply(&mut contents.safe),
                            Change::Truncate(_) => {}
                        }
                    }
                }
            }
            contents.seen = contents.safe.clone();
        }
        let changes = std::mem::take(&mut self.name_changes);
        let kept = self.rng.random_range(0..=changes.len());
        changes.into_iter().take(kept).for_each(|change| change.apply(&mut self.safe_names));
        self.names = self.safe_names.clone();
        let named: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
        self.fuse = None;
        self.dead = false;
    }

    fn rename(&mut self, change: NameChange) {
        match &change {
            NameChange::Set(name, file) => drop(self.names.insert(name.clone(), *file)),
            NameChange::Remove(name) => drop(self.names.remove(name)),
        }
        self.name_changes.push(change);
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.step()?;
        let file = world.next_file;
        world.next_file += 1;
        world.files.insert(file, Contents::default());
        world.rename(NameChange::Set(name.to_owned(), file));
        Ok(Arc::new(SimFile(self.clone(), file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.world();
        match world.names.get(name) {
            Some(file) => Ok(Arc::new(SimFile(self.clone(), *file))),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.world().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        let file = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        // Both names change in one step, as in a journal.
        world.rename(NameChange::Set(to.to_owned(), file));
        world.rename(NameChange::Remove(from.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        if !world.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.rename(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        if world.fails() {
            return Err(io::Error::other("sync failed"));
        }
        world.name_changes.clear();
        world.safe_names = world.names.clone();
        Ok(())
    }
}

struct SimFile(SimDisk, u64);

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.world().files[&self.1].seen.len() as u64)
    }

    fn read_at(&self, at: u64, len: usize) -> io::Result<Bytes> {
        let world = self.0.world();
        let data = &world.files[&self.1].seen;
        match data.get(at as usize..at as usize + len) {
            Some(data) => Ok(Bytes::copy_from_slice(data)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write_at(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.0.world().write(self.1, at as usize, data)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut world = self.0.world();
        world.step()?;
        let change = Change::Truncate(len as usize);
        let contents = contents(&mut world.files, self.1);
        change.apply(&mut contents.seen);
        contents.changes.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.world().sync(self.1)
    }
}
