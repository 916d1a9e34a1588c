//! A network link that can be cut: a TCP proxy on loopback between the gateway and its upstream broker.
//!
//! The demo cuts here and not at the broker, because the broker keeps what it accepted in RAM: ending it would
//! lose messages that had been delivered, and the tally would blame the gateway.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Out of descriptors, an accept fails at once and again: a pause keeps that from being a busy loop.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProxyState {
    Up,
    Cut,
}

/// The link; dropping it ends its connections.
#[derive(Debug)]
pub struct LinkProxy {
    address: SocketAddr,
    state: watch::Sender<ProxyState>,
    acceptor: JoinHandle<()>,
}

impl LinkProxy {
    /// Listens on a free loopback port and passes everything to `target`.
    pub async fn open(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (state, seen) = watch::channel(ProxyState::Up);
        let acceptor = tokio::spawn(accept(listener, target, seen));
        Ok(Self {
            address,
            state,
            acceptor,
        })
    }

    /// Where to connect instead of to the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops every connection; new ones are closed as soon as they come.
    pub fn cut(&self) {
        self.state.send_replace(ProxyState::Cut);
    }

    /// Lets new connections through again.
    pub fn restore(&self) {
        self.state.send_replace(ProxyState::Up);
    }

    /// Whether it is cut.
    pub fn is_cut(&self) -> bool {
        *self.state.borrow() == ProxyState::Cut
    }

    /// Ends all connections and the listener.
    pub async fn close(mut self) {
        self.acceptor.abort();
        // It was told to end; an error here says just that.
        let _ = (&mut self.acceptor).await;
    }
}

impl Drop for LinkProxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// The connections live in this task's set, so that they end with it.
async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Receiver<ProxyState>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, _)) if *state.borrow() == ProxyState::Up => {
                    connections.spawn(pass(near, target, state.clone()));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "the link could not take a connection");
                    tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(mut near: TcpStream, target: SocketAddr, mut state: watch::Receiver<ProxyState>) {
    let through = async {
        let mut far = TcpStream::connect(target).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        copy_bidirectional(&mut near, &mut far).await
    };
    tokio::select! {
        passed = through => {
            if let Err(error) = passed {
                tracing::debug!(%error, "a connection over the link ended");
            }
        }
        _ = state.wait_for(|state| *state == ProxyState::Cut) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn echo() -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                served.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        (address, task)
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<[u8; 4]> {
        stream.write_all(b"tide").await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_cut_drops_connections_and_refuses_new_ones_until_it_is_mended() {
        let (target, server) = echo().await;
        let link = LinkProxy::open(target).await.unwrap();
        let mut before = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(&ask(&mut before).await.unwrap(), b"tide");

        link.cut();
        assert!(link.is_cut());
        assert!(matches!(before.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        let mut during = TcpStream::connect(link.address()).await.unwrap();
        assert!(matches!(during.read(&mut [0; 1]).await, Ok(0) | Err(_)));

        link.restore();
        let mut after = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(&ask(&mut after).await.unwrap(), b"tide");
        link.close().await;
        assert!(matches!(after.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        server.abort();
    }
}
