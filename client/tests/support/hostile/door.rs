//! The server's listening socket, which can be closed for a while: a host that is down refuses connections.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Wanted and actual state of one listening socket.
#[derive(Default)]
pub(super) struct Door {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default, Clone, Copy)]
struct State {
    wanted_shut: bool,
    is_shut: bool,
    ended: bool,
}

impl Door {
    /// Hands each connection to `serve` until [`Self::end`]; the socket is closed while the door is shut.
    pub(super) fn keep(&self, first: TcpListener, serve: impl Fn(TcpStream)) {
        let address = first.local_addr().expect("a bound socket has an address");
        let mut listener = Some(first);
        loop {
            for stream in listener.take().unwrap_or_else(|| bound(address)).incoming().flatten() {
                let state = *self.lock();
                if state.ended {
                    return;
                }
                if state.wanted_shut {
                    break;
                }
                serve(stream);
            }
            let mut state = self.lock();
            state.is_shut = true;
            self.changed.notify_all();
            while state.wanted_shut && !state.ended {
                state = self.changed.wait(state).expect("no thread of the server panics with a lock held");
            }
            if state.ended {
                return;
            }
            drop(state);
            listener = Some(bound(address));
            self.lock().is_shut = false;
            self.changed.notify_all();
        }
    }

    /// Closes the socket; it is closed on return, unless somebody opened it meanwhile.
    pub(super) fn shut(&self, address: SocketAddr) {
        self.lock().wanted_shut = true;
        self.wake(address);
        self.wait_until(|state| state.is_shut || !state.wanted_shut || state.ended);
    }

    /// Opens it again; connections are taken on return.
    pub(super) fn open(&self) {
        self.lock().wanted_shut = false;
        self.changed.notify_all();
        self.wait_until(|state| !state.is_shut || state.ended);
    }

    /// Ends [`Self::keep`].
    pub(super) fn end(&self, address: SocketAddr) {
        self.lock().ended = true;
        self.changed.notify_all();
        self.wake(address);
    }

    fn wake(&self, address: SocketAddr) {
        let _ = TcpStream::connect(address);
    }

    fn wait_until(&self, holds: impl Fn(&State) -> bool) {
        let mut state = self.lock();
        while !holds(&state) {
            state = self.changed.wait(state).expect("no thread of the server panics with a lock held");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the server panics with a lock held")
    }
}

/// The same address again: it was ours a moment ago, so at worst its last connections have to be gone.
fn bound(address: SocketAddr) -> TcpListener {
    for _ in 0..1000 {
        if let Ok(listener) = TcpListener::bind(address) {
            return listener;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{address} cannot be bound again");
}
