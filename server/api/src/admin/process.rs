//! What this process uses of the machine.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use utoipa::ToSchema;

/// What the server's process uses.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct ProcessFigures {
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// Processor time since the start, in milliseconds over all cores.
    pub cpu_ms: u64,
    /// Cores of the machine.
    pub cores: u64,
}

/// Reads this process's figures from the operating system.
#[derive(Debug)]
pub(super) struct ProcessReader {
    pid: Pid,
    cores: u64,
    /// `None` where the operating system tells nothing.
    system: Option<Mutex<System>>,
}

impl ProcessReader {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        Self { pid: Pid::from_u32(std::process::id()), cores, system: System::new().ok().map(Mutex::new) }
    }

    /// The figures now; zeros where the system does not tell.
    pub(super) fn read(&self) -> ProcessFigures {
        let Some(system) = &self.system else {
            return ProcessFigures { cores: self.cores, ..ProcessFigures::default() };
        };
        let mut system = system.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), false, kind);
        let (memory_bytes, cpu_ms) =
            system.process(self.pid).map_or((0, 0), |process| (process.memory(), process.accumulated_cpu_time()));
        ProcessFigures { memory_bytes, cpu_ms, cores: self.cores }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory() {
        let figures = ProcessReader::new().read();
        assert!(figures.memory_bytes > 100_000, "{figures:?}");
        assert!(figures.cores > 0);
    }
}
