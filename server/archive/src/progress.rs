use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Phase {
    /// Nothing yet.
    #[default]
    Starting = 0,
    /// The store is read and written to the file.
    BackingUp = 1,
    /// What changed meanwhile is merged into the file.
    Merging = 2,
    /// A backup's file is read and checked.
    Verifying = 3,
    /// Data is written to the target store.
    Loading = 4,
    /// The target is read again and compared.
    Comparing = 5,
    /// Everything is done.
    Done = 6,
}

impl Phase {
    const ALL: [Self; 7] =
        [Self::Starting, Self::BackingUp, Self::Merging, Self::Verifying, Self::Loading, Self::Comparing, Self::Done];

    /// The phase of a [`Self::name`].
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }

    /// One word for it, as the admin API and the command line show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::BackingUp => "backing up",
            Self::Merging => "merging",
            Self::Verifying => "verifying",
            Self::Loading => "loading",
            Self::Comparing => "comparing",
            Self::Done => "done",
        }
    }
}

/// How far something is. Cheap to clone; whoever holds one asks whenever they like.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Figures>);

#[derive(Debug, Default)]
struct Figures {
    phase: AtomicU8,
    keys: AtomicU64,
    bytes: AtomicU64,
    total: AtomicU64,
}

/// A [`Progress`] at one moment. The figures start over with each phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgressFigures {
    /// What is being done.
    pub phase: Phase,
    /// Keys so far.
    pub keys: u64,
    /// Bytes so far: of keys and values, or of the file while it is verified.
    pub bytes: u64,
    /// What `bytes` will be at the end of the phase, where that is known.
    pub total_bytes: Option<u64>,
}

impl Progress {
    /// Nothing done yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where it is now.
    pub fn figures(&self) -> ProgressFigures {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let total = load(&self.0.total);
        ProgressFigures {
            phase: Phase::ALL[usize::from(self.0.phase.load(Ordering::Relaxed))],
            keys: load(&self.0.keys),
            bytes: load(&self.0.bytes),
            total_bytes: (total > 0).then_some(total),
        }
    }

    pub(crate) fn begin(&self, phase: Phase, total_bytes: u64) {
        self.0.keys.store(0, Ordering::Relaxed);
        self.0.bytes.store(0, Ordering::Relaxed);
        self.0.total.store(total_bytes, Ordering::Relaxed);
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, keys: u64, bytes: u64) {
        self.0.keys.fetch_add(keys, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
