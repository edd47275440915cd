//! Hot path. One UDP socket of one worker: receives and sends in batches.
//!
//! Receiving is `recvmmsg` into a buffer that is allocated once. Sending is `sendmmsg`; datagrams of equal size for one
//! destination travel as one message that the kernel cuts up (`UDP_SEGMENT`), so that a video frame for one viewer
//! costs one pass through the network stack. Where the kernel refuses segmentation, each datagram is its own message.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrLike, SockaddrStorage, recvmmsg, sendmmsg,
};
use redred_sfu::Datagrams;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Datagrams per `recvmmsg`. More saves system calls under load but delays what follows in the turn.
pub(crate) const RECEIVE_BATCH: usize = 32;

/// Bytes per received datagram. Larger than any path MTU a peer can use; what is longer is cut off and dropped.
const RECEIVE_BYTES: usize = 2048;

/// Messages per `sendmmsg`, each of one or more datagrams.
const SEND_BATCH: usize = 128;

/// Asked of the kernel for both directions, which grants at most `net.core.{r,w}mem_max`. A keyframe of one megabyte
/// fits; with the default of some 200 KiB, bursts from several publishers were lost before we could read them.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Most segments of one message. The kernel's own limit was 64 for years.
const SEGMENTS_MAX: usize = 64;

/// Most bytes of one message, below what fits in a UDP datagram over IPv6.
const MESSAGE_BYTES_MAX: usize = 65_000;

/// Largest segment: the kernel wants segments to fit the path, and 1 452 fits Ethernet over IPv6.
const SEGMENT_BYTES_MAX: usize = 1_452;

/// Refused messages of several datagrams in a row after which they are no longer tried. A single bad destination must
/// not reach it, and each costs a system call.
const REFUSALS_MAX: u32 = 64;

/// What the socket has done so far. All counters only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams received.
    pub received: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Datagrams longer than the buffer, dropped.
    pub truncated: u64,
    /// Receive calls that failed for another reason than an empty socket.
    pub receive_errors: u64,
    /// Datagrams the kernel accepted.
    pub sent: u64,
    /// Bytes the kernel accepted.
    pub sent_bytes: u64,
    /// System calls that sent them.
    pub send_calls: u64,
    /// Datagrams dropped because the send buffer was full.
    pub send_full: u64,
    /// Datagrams dropped because the kernel refused them.
    pub send_errors: u64,
}

/// A bound, nonblocking UDP socket with its buffers. Stays on the thread that made it.
pub(crate) struct Udp {
    socket: UdpSocket,
    local: SocketAddr,
    buffer: Vec<u8>,
    receive_headers: MultiHeaders<SockaddrStorage>,
    plain_headers: MultiHeaders<SockaddrStorage>,
    segment_headers: MultiHeaders<SockaddrStorage>,
    runs: Vec<Run>,
    order: Vec<u32>,
    segmentation: bool,
    /// Refused messages of several datagrams since the last one that was not.
    refusals: u32,
    counters: Counters,
}

/// Consecutive datagrams of the sorted batch that leave as one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// How many runs for the same destination precede it: sent in this order, a destination sees its own in order.
    round: u32,
    /// Size of every datagram but the last, which may be shorter. Zero for a datagram too large to be a segment.
    segment_bytes: u16,
    /// First index into the order.
    start: u32,
    /// Datagrams.
    count: u32,
}

/// Binds a nonblocking socket with large buffers. On `[::]` it serves IPv4 as well.
///
/// # Errors
/// Whatever the system says, with the address it was about left to the caller.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl Udp {
    /// Takes a socket from [`bind`].
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let granted = SockRef::from(&socket).recv_buffer_size()?;
        // Linux reports twice what was granted, for its own bookkeeping.
        if granted / 2 < SOCKET_BUFFER_BYTES {
            tracing::debug!(
                granted_bytes = granted / 2,
                wanted_bytes = SOCKET_BUFFER_BYTES,
                "the kernel limits socket buffers (net.core.rmem_max)"
            );
        }
        Ok(Self {
            socket,
            local,
            buffer: vec![0; RECEIVE_BATCH * RECEIVE_BYTES],
            receive_headers: MultiHeaders::preallocate(RECEIVE_BATCH, None),
            plain_headers: MultiHeaders::preallocate(SEND_BATCH, None),
            segment_headers: MultiHeaders::preallocate(SEND_BATCH, Some(nix::cmsg_space!(u16))),
            runs: Vec::new(),
            order: Vec::new(),
            segmentation: true,
            refusals: 0,
            counters: Counters::default(),
        })
    }

    /// The address it is bound to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// What it has done so far.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// For polling.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Receives one batch and hands each datagram on with its source. Returns how many there were; fewer than
    /// [`RECEIVE_BATCH`] means that the socket is empty now.
    pub(crate) fn receive(&mut self, mut handle: impl FnMut(SocketAddr, &[u8])) -> usize {
        let mut chunks = self.buffer.chunks_exact_mut(RECEIVE_BYTES);
        let mut slices: [[IoSliceMut<'_>; 1]; RECEIVE_BATCH] = std::array::from_fn(|_| {
            [IoSliceMut::new(
                chunks
                    .next()
                    .expect("the buffer has a chunk for each datagram"),
            )]
        });
        let results = match recvmmsg(
            self.socket.as_raw_fd(),
            &mut self.receive_headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        ) {
            Ok(results) => results,
            Err(Errno::EAGAIN | Errno::EINTR) => return 0,
            Err(_) => {
                self.counters.receive_errors += 1;
                return 0;
            }
        };
        let mut received = 0;
        for message in results {
            received += 1;
            self.counters.received += 1;
            self.counters.received_bytes += message.bytes as u64;
            if message.flags.contains(MsgFlags::MSG_TRUNC) {
                self.counters.truncated += 1;
                continue;
            }
            let source = message.address.as_ref().and_then(to_std);
            if let (Some(source), Some(datagram)) = (source, message.iovs().next()) {
                handle(source, datagram);
            }
        }
        received
    }

    /// Sends a batch and empties it. Datagrams for one destination leave in their order; a full send buffer drops the
    /// rest, as a socket does.
    pub(crate) fn send(&mut self, batch: &mut Datagrams) {
        if batch.is_empty() {
            return;
        }
        self.plan(batch);
        let slices: Vec<IoSlice<'_>> = self
            .order
            .iter()
            .map(|&index| IoSlice::new(batch.get(index as usize).contents))
            .collect();
        let mut next = 0;
        while next < self.runs.len() {
            let end = next + same_call(&self.runs[next..]);
            next = match self.send_runs(batch, &slices, next, end) {
                Ok(sent) => next + sent,
                Err(Errno::EINTR) => next,
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    self.counters.send_full += datagrams(&self.runs[next..]);
                    break;
                }
                Err(Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE) if self.runs[next].count > 1 => {
                    self.handle_refused_segments(next);
                    next
                }
                Err(_) => {
                    self.counters.send_errors += u64::from(self.runs[next].count);
                    next + 1
                }
            };
        }
        batch.clear();
    }

    /// Orders a batch into runs.
    fn plan(&mut self, batch: &Datagrams) {
        self.order.clear();
        self.order.extend(0..batch.len() as u32);
        self.order
            .sort_by_key(|&index| batch.get(index as usize).destination);
        self.runs.clear();
        let mut start = 0;
        let mut round = 0;
        while start < self.order.len() {
            let first = batch.get(self.order[start] as usize);
            let count = if self.segmentation {
                run_length(self.order[start..].iter().map_while(|&index| {
                    let next = batch.get(index as usize);
                    (next.destination == first.destination).then_some(next.contents.len())
                }))
            } else {
                1
            };
            let bytes = first.contents.len();
            let segment_bytes = if bytes > SEGMENT_BYTES_MAX {
                0
            } else {
                bytes as u16
            };
            let run = Run {
                round,
                segment_bytes,
                start: start as u32,
                count: count as u32,
            };
            self.runs.push(run);
            start += count;
            let same_destination = self
                .order
                .get(start)
                .is_some_and(|&index| batch.get(index as usize).destination == first.destination);
            round = if same_destination { round + 1 } else { 0 };
        }
        self.runs.sort_by_key(|run| (run.round, run.segment_bytes));
    }

    /// Splits a run that was refused: the fault may be the destination's or the kernel's. When nothing ever gets through,
    /// it is the kernel's.
    fn handle_refused_segments(&mut self, index: usize) {
        let run = self.runs[index];
        let singles = (run.start..run.start + run.count).map(|start| Run {
            start,
            count: 1,
            ..run
        });
        self.runs.splice(index..=index, singles);
        self.refusals += 1;
        if self.refusals == REFUSALS_MAX && self.segmentation {
            tracing::info!("the kernel refuses UDP segmentation, sending datagrams singly");
            self.segmentation = false;
        }
    }

    /// Sends the runs from `next` to `end` with one call and returns how many the kernel took.
    fn send_runs(
        &mut self,
        batch: &Datagrams,
        slices: &[IoSlice<'_>],
        next: usize,
        end: usize,
    ) -> Result<usize, Errno> {
        let runs = &self.runs[next..end];
        let messages: Vec<&[IoSlice<'_>]> = runs
            .iter()
            .map(|run| &slices[run.start as usize..(run.start + run.count) as usize])
            .collect();
        let addresses: Vec<Option<SockaddrStorage>> = runs
            .iter()
            .map(|run| {
                let first = self.order[run.start as usize] as usize;
                let destination = batch.get(first).destination;
                Some(self.to_kernel(destination))
            })
            .collect();
        let segment_bytes = runs
            .iter()
            .map(|run| run.segment_bytes)
            .max()
            .unwrap_or_default();
        let segmented = runs.iter().any(|run| run.count > 1);
        let control = [ControlMessage::UdpGsoSegments(&segment_bytes)];
        let (headers, control) = if segmented {
            (&mut self.segment_headers, &control[..])
        } else {
            (&mut self.plain_headers, &[][..])
        };
        let flags = MsgFlags::MSG_DONTWAIT;
        let results = sendmmsg(
            self.socket.as_raw_fd(),
            headers,
            messages.iter(),
            addresses,
            control,
            flags,
        )?;
        let sent = results.count();
        if segmented && sent > 0 {
            self.refusals = 0;
        }
        self.counters.send_calls += 1;
        self.counters.sent += datagrams(&runs[..sent]);
        self.counters.sent_bytes += messages[..sent]
            .iter()
            .copied()
            .flatten()
            .map(|slice| slice.len() as u64)
            .sum::<u64>();
        Ok(sent)
    }

    /// An IPv4 destination from an IPv6 socket needs its mapped form.
    fn to_kernel(&self, destination: SocketAddr) -> SockaddrStorage {
        match (self.local, destination) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            _ => destination.into(),
        }
    }
}

/// How many of the sizes, which belong to one destination, form one message: equal ones, then at most one shorter.
fn run_length(mut sizes: impl Iterator<Item = usize>) -> usize {
    let Some(first) = sizes.next() else { return 0 };
    if first > SEGMENT_BYTES_MAX || first == 0 {
        return 1;
    }
    let mut count = 1;
    let mut bytes = first;
    for size in sizes {
        bytes += size;
        if size > first || size == 0 || bytes > MESSAGE_BYTES_MAX || count == SEGMENTS_MAX {
            break;
        }
        count += 1;
        if size < first {
            break;
        }
    }
    count
}

/// How many of the runs can share one call. A call has one segment size for all its messages, so they are either of
/// one size, or none of them is cut up.
fn same_call(runs: &[Run]) -> usize {
    let runs = &runs[..runs.len().min(SEND_BATCH)];
    let equal = runs
        .iter()
        .take_while(|run| run.segment_bytes == runs[0].segment_bytes)
        .count();
    let single = runs.iter().take_while(|run| run.count == 1).count();
    equal.max(single)
}

fn datagrams(runs: &[Run]) -> u64 {
    runs.iter().map(|run| u64::from(run.count)).sum()
}

/// Mapped IPv4 addresses become IPv4: one peer must not have two addresses.
fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::new(v4.ip(), v4.port()).into());
    }
    let v6 = address.as_sockaddr_in6()?;
    debug_assert_eq!(
        address.family(),
        Some(nix::sys::socket::AddressFamily::Inet6)
    );
    let address = SocketAddrV6::from(*v6);
    Some(match address.ip().to_ipv4_mapped() {
        Some(v4) => SocketAddrV4::new(v4, address.port()).into(),
        None => address.into(),
    })
}

#[cfg(test)]
mod tests;
