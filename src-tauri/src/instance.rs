//! One app for one folder, also where there is no session bus for the single-instance plugin: an operating-system lock
//! tells the second start, and a socket in the folder brings the first one's window to the front.

use crate::folder::Folder;
use std::fs::{File, OpenOptions, TryLockError};

/// Held for as long as the app runs.
#[derive(Debug)]
pub(crate) struct Instance {
    _lock: Option<File>,
}

/// Takes the folder's lock; `None` when another app has it. A file system without locks, or a folder that cannot be written, is no
/// reason not to start.
pub(crate) fn claim(folder: &Folder) -> Option<Instance> {
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.instance_lock());
    match lock {
        Ok(file) => match file.try_lock() {
            Ok(()) => Some(Instance { _lock: Some(file) }),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(_)) => Some(Instance { _lock: None }),
        },
        Err(_) => Some(Instance { _lock: None }),
    }
}

/// Asks the app that has the folder to show its window.
#[cfg(unix)]
pub(crate) fn call(folder: &Folder) -> std::io::Result<()> {
    // The connection alone is the message.
    std::os::unix::net::UnixStream::connect(folder.instance_socket()).map(|_| ())
}

/// Other systems have the plugin always.
#[cfg(not(unix))]
pub(crate) fn call(_folder: &Folder) -> std::io::Result<()> {
    Ok(())
}

/// Calls `show` for each [`call`] of a second start.
#[cfg(unix)]
pub(crate) async fn answer(folder: Folder, show: impl Fn()) {
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
    while listener.accept().await.is_ok() {
        show();
    }
}

/// Other systems have the plugin always.
#[cfg(not(unix))]
pub(crate) async fn answer(_folder: Folder, _show: impl Fn()) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_claim_wins_until_it_ends() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(temporary.path());
        let first = claim(&folder).expect("nobody has it");
        assert!(claim(&folder).is_none());
        drop(first);
        assert!(claim(&folder).is_some());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_second_start_reaches_the_first() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(temporary.path());
        assert!(call(&folder).is_err(), "nobody there");
        std::fs::write(folder.instance_socket(), "left over").unwrap();
        let (sender, mut shown) = tokio::sync::mpsc::unbounded_channel();
        let mut answering = Box::pin(answer(folder.clone(), move || sender.send(()).unwrap()));
        // The first poll binds the socket.
        assert!(futures_poll(answering.as_mut()).await);
        call(&folder).unwrap();
        tokio::select! {
            () = answering => panic!("it stopped answering"),
            heard = shown.recv() => assert_eq!(heard, Some(())),
        }
    }

    #[cfg(unix)]
    async fn futures_poll(mut future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }
}
