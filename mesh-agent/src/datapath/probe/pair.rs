//! Tables of the probe's own, and pairs of sockets enrolled in them from user space.

use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd},
};

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, MapError, SkStorage, SockHash},
    programs::{Program, ProgramError},
};
use mesh_common::{
    abi::{MAPS, MapKind, map},
    accel::{Accel, Located, SocketKey, Splice},
    addr::Port,
    config::{Config, flag},
    sock::SockState,
};
use zerocopy::FromBytes;

use super::{ProbeError, checks::PATIENCE};
use crate::{
    datapath::{accel, btf, object},
    sys::{bpf, raw::Raw},
};

/// Tells sockets' addresses.
const LOCATE: &str = "mesh_address";
/// More than the probe ever has in a table.
const ENTRIES: u32 = 64;

/// The programs on tables of their own; all of it is gone when this is dropped.
pub struct Bench {
    ebpf: Ebpf,
    config: Array<MapData, Raw<Config>>,
    storage: Map,
    splices: HashMap<MapData, Raw<SocketKey>, Raw<Splice>>,
    sockets: SockHash<MapData, Raw<SocketKey>>,
}

impl Bench {
    /// Loads the programs; `stream_verdict` says whether that one takes part.
    pub fn new(stream_verdict: bool) -> Result<Self, ProbeError> {
        let offsets = btf::sock_offsets()
            .map(Raw)
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        let page = u32::try_from(rustix::param::page_size()).unwrap_or(ENTRIES);
        let mut loader = EbpfLoader::new();
        loader.override_global("SOCK_OFFSETS", &offsets, true);
        for spec in MAPS {
            match spec.kind {
                // The least the kernel takes.
                MapKind::RingBuf => loader.map_max_entries(spec.name, page),
                MapKind::SkStorage => continue,
                _ => loader.map_max_entries(spec.name, ENTRIES),
            };
        }
        let mut ebpf = loader.load(object::bytes())?;
        accel::load(&mut ebpf)?;
        let sockets = taken(&mut ebpf, map::SOCKETS)?;
        if let Map::SockHash(sockets) = &sockets {
            accel::attach_to(&ebpf, map::SOCKETS, sockets, stream_verdict)?;
        }
        let types = Btf::from_sys_fs().map_err(EbpfError::BtfError)?;
        match ebpf.program_mut(LOCATE) {
            Some(Program::Iter(program)) => program.load("bpf_sk_storage_map", &types)?,
            _ => return Err(ProgramError::UnexpectedProgramType.into()),
        }
        Ok(Self {
            config: taken(&mut ebpf, map::CONFIG)?.try_into()?,
            storage: taken(&mut ebpf, map::SOCK_STATE)?,
            splices: taken(&mut ebpf, map::SPLICES)?.try_into()?,
            sockets: sockets.try_into()?,
            ebpf,
        })
    }

    /// Switches the redirect on or off.
    pub fn switch(&mut self, on: bool) -> Result<(), ProbeError> {
        let flags = if on { 0 } else { flag::ACCEL_OFF };
        let config = Config {
            flags,
            ..Config::default()
        };
        Ok(self.config.set(0, Raw(config), 0)?)
    }

    /// A connection over loopback, both ends enrolled and not blocking.
    pub fn pair(&mut self) -> Result<Pair, ProbeError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let left = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
        let right = accept_from(&listener, left.local_addr()?)?;
        for (pod, socket) in [(1, &left), (2, &right)] {
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            self.enrol(pod, socket)?;
        }
        Ok(Pair { left, right })
    }

    /// Bytes and messages a socket sent by redirect.
    pub fn redirected(&self, socket: &TcpStream) -> Result<u64, ProbeError> {
        let storage = SkStorage::<_, Raw<SockState>>::try_from(&self.storage)?;
        let Raw(state) = storage.get(&socket.as_raw_fd(), 0)?;
        Ok(state.accel.redirected.bytes)
    }

    /// As the socket operations do it in the kernel.
    fn enrol(&mut self, pod: u32, socket: &TcpStream) -> Result<(), ProbeError> {
        let mut state = state(pod, socket)?;
        self.remember(socket, state)?;
        state.accel.sk = self.locate(state.cookie)?;
        self.remember(socket, state)?;
        let splice = Splice {
            sk: state.accel.sk,
            cookie: state.cookie,
            ..Splice::default()
        };
        self.splices.insert(Raw(state.key()), Raw(splice), 0)?;
        Ok(self.sockets.insert(Raw(state.key()), socket.as_raw_fd(), 0)?)
    }

    fn remember(&mut self, socket: &TcpStream, state: SockState) -> Result<(), ProbeError> {
        let mut storage = SkStorage::<_, Raw<SockState>>::try_from(&mut self.storage)?;
        Ok(storage.insert(&socket.as_raw_fd(), Raw(state), 0)?)
    }

    fn locate(&self, cookie: u64) -> Result<u64, ProbeError> {
        let Some(Program::Iter(program)) = self.ebpf.program(LOCATE) else {
            return Err(ProgramError::UnexpectedProgramType.into());
        };
        let Map::SkStorage(storage) = &self.storage else {
            return Err(ProgramError::UnexpectedProgramType.into());
        };
        let link = bpf::map_iterator(program.fd()?.as_fd(), storage.fd().as_fd())?;
        let mut list = Vec::new();
        bpf::iterate(link.as_fd())?.read_to_end(&mut list)?;
        let mut located = list
            .chunks_exact(size_of::<Located>())
            .filter_map(|record| Located::read_from_bytes(record).ok());
        let found = located.find(|it| it.cookie == cookie);
        let missing = || std::io::Error::other("the kernel does not list the probe's socket");
        Ok(found.ok_or_else(missing)?.sk)
    }
}

/// The connection from that address, whoever else may have connected; it has arrived when the dialler is through.
fn accept_from(listener: &TcpListener, wanted: SocketAddr) -> std::io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    loop {
        let (stream, from) = listener.accept()?;
        if from == wanted {
            return Ok(stream);
        }
    }
}

fn taken(ebpf: &mut Ebpf, name: &str) -> Result<Map, MapError> {
    ebpf.take_map(name).ok_or_else(|| MapError::InvalidName {
        name: name.to_owned(),
    })
}

/// What the socket operations would have noted of a socket.
fn state(pod: u32, socket: &TcpStream) -> std::io::Result<SockState> {
    let (local, remote) = (socket.local_addr()?, socket.peer_addr()?);
    let port = |addr: SocketAddr| Port::new(addr.port());
    Ok(SockState {
        local_addr: local.ip().into(),
        local_port: port(local),
        remote_addr: remote.ip().into(),
        remote_port: port(remote),
        pod,
        cookie: rustix::net::sockopt::socket_cookie(socket)?,
        accel: Accel {
            peer: 3 - pod,
            ..Accel::default()
        },
        ..SockState::default()
    })
}

/// Two enrolled sockets of one connection.
pub struct Pair {
    /// The one that connected.
    pub left: TcpStream,
    /// The one that was accepted.
    pub right: TcpStream,
}
