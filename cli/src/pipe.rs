//! Noticing that nobody reads standard output any more, also while there is nothing to print.
//!
//! Otherwise `everstream read s | head -1` would stay until the next message comes, which may be never.

/// Ready when the other end of the pipe on standard output is closed; never when it is no pipe.
#[cfg(unix)]
pub(crate) async fn stdout_closed() {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    use tokio::sync::oneshot;

    let (closed, seen) = oneshot::channel();
    // A thread, as files and terminals cannot be registered with the runtime; it ends with the process.
    std::thread::spawn(move || {
        let stdout = std::io::stdout();
        // Errors are always waited for.
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        while poll(&mut watched, None) == Err(Errno::INTR) {}
        if watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            // When nobody waits any more the command is over anyway.
            let _ = closed.send(());
        }
    });
    if seen.await.is_err() {
        std::future::pending().await
    }
}

/// Ready never: the next write finds out.
#[cfg(not(unix))]
pub(crate) async fn stdout_closed() {
    std::future::pending().await
}
