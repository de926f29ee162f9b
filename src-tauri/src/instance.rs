//! One app for one folder: an operating-system lock tells the second start, and a socket in the folder brings the first one's
//! window to the front. It needs no session bus, and it decides before anything else has started. The single-instance
//! plugin stands behind it, for systems and file systems that lack one of the two.

use crate::folder::Folder;
use std::{
    fs::{File, OpenOptions, TryLockError},
    time::{Duration, Instant},
};

/// How long the first app may take to answer, which it does not while it starts.
const ANSWERS: Duration = Duration::from_secs(10);
/// How long a first app that is leaving may take: it stops its server.
const LEAVES: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// The first app's answers, one byte each.
const SHOWN: u8 = b's';
const LEAVING: u8 = b'l';

/// Held for as long as the app runs.
#[derive(Debug)]
pub(crate) struct Instance {
    _lock: Option<File>,
}

/// Whose folder it is.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Ours.
    Ours(Instance),
    /// Another app has it and has come to the front.
    Shown,
    /// Another app has it and does not answer.
    Silent,
}

/// Takes the folder, or calls the app that has it. A file system without locks, or a folder that cannot be written, is no reason
/// not to start.
pub(crate) fn claim(folder: &Folder) -> Claim {
    let Ok(file) = OpenOptions::new().create(true).truncate(false).write(true).open(folder.instance_lock()) else {
        return Claim::Ours(Instance { _lock: None });
    };
    let mut deadline = Instant::now() + ANSWERS;
    let mut leaving = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Claim::Ours(Instance { _lock: Some(file) }),
            Err(TryLockError::Error(_)) => return Claim::Ours(Instance { _lock: None }),
            Err(TryLockError::WouldBlock) => {}
        }
        match call(folder) {
            Some(SHOWN) => return Claim::Shown,
            Some(LEAVING) if !leaving => {
                leaving = true;
                deadline = Instant::now() + LEAVES;
            }
            _ => {}
        }
        if Instant::now() > deadline {
            return Claim::Silent;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Asks the app that has the folder to show its window.
#[cfg(unix)]
fn call(folder: &Folder) -> Option<u8> {
    use std::{io::Read, os::unix::net::UnixStream};
    // The connection alone is the question.
    let mut stream = UnixStream::connect(folder.instance_socket()).ok()?;
    stream.set_read_timeout(Some(ANSWERS)).ok()?;
    let mut answer = [0];
    stream.read_exact(&mut answer).ok()?;
    Some(answer[0])
}

/// Other systems have the plugin always.
#[cfg(not(unix))]
fn call(_folder: &Folder) -> Option<u8> {
    Some(SHOWN)
}

/// Answers each second start. `show` brings the window to the front, and is `false` when the app is leaving.
#[cfg(unix)]
pub(crate) async fn answer(folder: Folder, show: impl Fn() -> bool) {
    use tokio::io::AsyncWriteExt;
    let path = folder.instance_socket();
    // The lock is ours, so a socket that is there is a dead one.
    std::fs::remove_file(&path).ok();
    let listener = match tokio::net::UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, "a second start cannot reach this one through its folder");
            return;
        }
    };
    while let Ok((mut stream, _)) = listener.accept().await {
        let answer = if show() { SHOWN } else { LEAVING };
        if let Err(error) = stream.write_all(&[answer]).await {
            tracing::debug!(%error, "a second start did not wait for its answer");
        }
    }
}

/// Other systems have the plugin always.
#[cfg(not(unix))]
pub(crate) async fn answer(_folder: Folder, _show: impl Fn() -> bool) {}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::{
        future::poll_fn,
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU32, Ordering},
        },
        task::Poll,
    };

    /// Polls once, which binds the socket.
    async fn begin(future: Pin<&mut impl Future<Output = ()>>) {
        let mut future = Some(future);
        poll_fn(|context| Poll::Ready(future.take().expect("once").poll(context).is_pending())).await;
    }

    async fn claim_in_background(folder: &Folder) -> Claim {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || claim(&folder)).await.unwrap()
    }

    #[tokio::test]
    async fn a_second_start_brings_the_first_to_the_front() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(temporary.path());
        let Claim::Ours(first) = claim(&folder) else { panic!("nobody has it") };
        std::fs::write(folder.instance_socket(), "left over").unwrap();
        let shown = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&shown);
        let mut answering = Box::pin(answer(folder.clone(), move || count.fetch_add(1, Ordering::SeqCst) < 10));
        begin(answering.as_mut()).await;
        tokio::select! {
            () = answering => panic!("it stopped answering"),
            second = claim_in_background(&folder) => assert!(matches!(second, Claim::Shown), "{second:?}"),
        }
        assert_eq!(shown.load(Ordering::SeqCst), 1);
        drop(first);
        assert!(matches!(claim(&folder), Claim::Ours(_)), "its end frees the folder");
    }

    #[tokio::test]
    async fn a_second_start_waits_for_a_first_that_is_leaving() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(temporary.path());
        let Claim::Ours(first) = claim(&folder) else { panic!("nobody has it") };
        let (asked, mut was_asked) = tokio::sync::mpsc::channel(1);
        let leaving = AtomicBool::new(false);
        let mut answering = Box::pin(answer(folder.clone(), move || {
            if !leaving.swap(true, Ordering::SeqCst) {
                asked.try_send(()).unwrap();
            }
            false
        }));
        begin(answering.as_mut()).await;
        let leave = async {
            was_asked.recv().await.unwrap();
            drop(first);
        };
        tokio::select! {
            () = answering => panic!("it stopped answering"),
            (second, ()) = async { tokio::join!(claim_in_background(&folder), leave) } => {
                assert!(matches!(second, Claim::Ours(_)), "{second:?}");
            }
        }
    }
}
