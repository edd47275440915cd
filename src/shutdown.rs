//! How the server stops: running, then draining for the grace time, then stopped.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

/// Where the server is in its life. Never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Takes everything.
    Running,
    /// Keeps what is there and refuses what is new.
    Draining,
    /// Closes what is left.
    Stopped,
}

/// Tells every part of the server which phase it is in. Clones share one phase.
#[derive(Clone)]
pub struct Shutdown {
    phase: Arc<watch::Sender<Phase>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            phase: Arc::new(watch::Sender::new(Phase::Running)),
        }
    }
}

impl Shutdown {
    /// The current phase.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Tells whether new work is refused.
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Moves on to a later phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let is_later = phase > *current;
            *current = phase.max(*current);
            is_later
        });
    }

    /// Waits until the server is in `phase` or a later one.
    pub async fn reached(&self, phase: Phase) {
        let mut watcher = self.phase.subscribe();
        // An error means that the sender is gone, which cannot be while `self` holds it.
        let _ = watcher.wait_for(|current| *current >= phase).await;
    }
}

/// Requests to stop. The first asks the server to drain, the second to exit at once.
pub type Requests = mpsc::Receiver<()>;

/// Turns SIGTERM and SIGINT into requests.
///
/// # Errors
///
/// When the handlers cannot be installed.
pub fn on_signals() -> std::io::Result<Requests> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, requests) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(requests)
}
