//! Ctrl-C and SIGTERM: the first one asks for an orderly end, the second one ends the process at once.

use std::io;

use tokio::sync::oneshot;

/// Listens from here on; the future is ready after the first signal.
pub(crate) fn interrupt() -> io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::new()?;
    let (first, seen) = oneshot::channel();
    tokio::spawn(async move {
        signals.next().await;
        // When nobody waits any more the command is over anyway.
        let _ = first.send(());
        signals.next().await;
        std::process::exit(1);
    });
    Ok(async move {
        if seen.await.is_err() {
            std::future::pending().await
        }
    })
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
