//! The sockets of a check, opened as the data plane and the control plane open theirs.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::task::{Context, Poll};

use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::{BindFailure, DataPorts, DataSockets, MeshSpec, Opened, Source, Target};

/// The open sockets.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    sockets: Vec<UdpSocket>,
    worker: Option<usize>,
    client: Option<usize>,
}

impl Sockets {
    /// Opens what the host shall open. What cannot be opened is no error but said in [`Opened`].
    pub(super) fn open(spec: &MeshSpec) -> io::Result<(Self, Opened)> {
        let mut sockets = Self::default();
        let data = spec.data.map(open_range);
        let rpc = spec.rpc.map(|address| bind(address).map_err(BindFailure::from));
        let opened = Opened {
            data: data.as_ref().map(|result| match result {
                Ok((_, report)) => Ok(report.clone()),
                Err(failure) => Err(failure.clone()),
            }),
            rpc: match &rpc {
                None => None,
                Some(Ok(socket)) => Some(Ok(socket.local_addr()?.port())),
                Some(Err(failure)) => Some(Err(failure.clone())),
            },
        };
        if let Some(Ok((open, _))) = data {
            sockets.worker = Some(0);
            for socket in open {
                sockets.add(socket)?;
            }
        }
        if let Some(Ok(socket)) = rpc {
            sockets.add(socket)?;
        }
        Ok((sockets, opened))
    }

    /// Opens the socket that these targets are called from, unless there are none of that kind.
    pub(super) fn open_client(&mut self, targets: &[Target]) -> io::Result<()> {
        let target = targets.iter().find(|target| target.from == Source::Client);
        if let Some(target) = target {
            let any = match target.address {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            self.client = Some(self.sockets.len());
            self.add(bind(any)?)?;
        }
        Ok(())
    }

    fn add(&mut self, socket: StdSocket) -> io::Result<()> {
        self.sockets.push(UdpSocket::from_std(socket)?);
        Ok(())
    }

    /// The next datagram: how long it is, who sent it, and which socket it came to.
    pub(super) fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<(usize, SocketAddr, usize)> {
        for (index, socket) in self.sockets.iter().enumerate() {
            let mut room = ReadBuf::new(buffer);
            while let Poll::Ready(result) = socket.poll_recv_from(context, &mut room) {
                // An error is that of an earlier packet (nobody listens there), and is gone once it is told.
                if let Ok(from) = result {
                    return Poll::Ready((room.filled().len(), from, index));
                }
            }
        }
        Poll::Pending
    }

    /// Sends from the socket that targets of this kind are probed from.
    pub(super) fn send(&self, from: Source, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let index = match from {
            Source::Worker => self.worker,
            Source::Client => self.client,
        };
        let index = index.ok_or_else(|| io::Error::other("no socket to send from"))?;
        self.send_on(index, bytes, to)
    }

    /// Sends from one socket. A full buffer swallows the packet, as the network may.
    pub(super) fn send_on(&self, index: usize, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let Some(socket) = self.sockets.get(index) else {
            return Ok(());
        };
        match socket.try_send_to(bytes, to) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

/// The first and the last free port of a range, and how many are free.
fn open_range(ports: DataPorts) -> Result<(Vec<StdSocket>, DataSockets), BindFailure> {
    let mut open: Vec<StdSocket> = Vec::new();
    let mut free = 0;
    for port in ports.first..=ports.last {
        match bind(SocketAddr::new(ports.address, port)) {
            Ok(socket) => {
                free += 1;
                open.truncate(1);
                open.push(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error.into()),
        }
    }
    if open.is_empty() {
        return Err(BindFailure::Taken);
    }
    let port = |socket: &StdSocket| Ok(socket.local_addr()?.port());
    let ports: io::Result<Vec<u16>> = open.iter().map(port).collect();
    let report = DataSockets { ports: ports?, free };
    Ok((open, report))
}

/// A socket whose packets are never cut into pieces on the way, like those of QUIC.
fn bind(address: SocketAddr) -> io::Result<StdSocket> {
    let socket = StdSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    match address {
        SocketAddr::V4(_) => set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?,
        SocketAddr::V6(_) => set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?,
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(address: [u8; 4], first: u16, last: u16) -> MeshSpec {
        MeshSpec {
            nonce: [0; 16],
            data: Some(DataPorts {
                address: address.into(),
                first,
                last,
            }),
            rpc: None,
            payload: 1452,
        }
    }

    fn opened(spec: &MeshSpec) -> Result<DataSockets, BindFailure> {
        Sockets::open(spec).expect("opens").1.data.expect("asked for")
    }

    #[tokio::test]
    async fn free_ports_are_found_beside_taken_ones() {
        let any = opened(&spec([127, 0, 0, 1], 0, 0)).expect("opens");
        assert!(any.free == 1 && any.ports.len() == 1 && any.ports[0] != 0);
        // An address of its own: no other test takes its ports.
        let address = [127, 9, 8, 7];
        let taken: Vec<_> = (41_000..=41_003)
            .map(|port| StdSocket::bind((std::net::IpAddr::from(address), port)).expect("free"))
            .collect();
        let found = opened(&spec(address, 41_000, 41_009)).expect("opens");
        assert_eq!((found.ports, found.free), (vec![41_004, 41_009], 6));
        assert_eq!(opened(&spec(address, 41_000, 41_003)), Err(BindFailure::Taken));
        drop(taken);
    }

    #[tokio::test]
    async fn a_foreign_address_is_told_from_a_taken_port() {
        assert_eq!(opened(&spec([192, 0, 2, 1], 0, 0)), Err(BindFailure::NotOurs));
    }
}
