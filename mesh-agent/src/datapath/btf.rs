//! Field offsets of the running kernel, from its type information (BTF,
//! `Documentation/bpf/btf.rst` in the kernel's source).

use std::{fs, io, ops::Range, sync::OnceLock};

use mesh_common::{accel::SockOffsets, flow::TcpOffsets};
use thiserror::Error;

/// Where the kernel shows its own type information.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Why an offset can't be found.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The kernel does not show its types.
    #[error("{VMLINUX}: {0} (the kernel is built without CONFIG_DEBUG_INFO_BTF)")]
    Unreadable(#[from] io::Error),
    /// The data is not what the format says.
    #[error("{VMLINUX}: malformed type information")]
    Malformed,
    /// The type or field is not there.
    #[error("{VMLINUX}: no field {path} in struct {root}")]
    Missing {
        /// The structure.
        root: String,
        /// The path of fields, separated by dots.
        path: String,
    },
}

/// Where this kernel keeps what TCP knows of a connection.
///
/// # Errors
/// Where the kernel does not show its types or has other fields.
pub fn tcp_offsets() -> Result<TcpOffsets, BtfError> {
    let btf = Btf::parse(fs::read(VMLINUX)?)?;
    let field = |path: &str| btf.offset("tcp_sock", path);
    Ok(TcpOffsets {
        bytes_acked: field("bytes_acked")?,
        bytes_received: field("bytes_received")?,
        segs_out: field("segs_out")?,
        segs_in: field("segs_in")?,
        srtt_us8: field("srtt_us")?,
        retransmits: field("total_retrans")?,
        snd_una: field("snd_una")?,
        snd_nxt: field("snd_nxt")?,
        rcv_nxt: field("rcv_nxt")?,
        state: field("inet_conn.icsk_inet.sk.__sk_common.skc_state")?,
    })
}

/// Where this kernel keeps what the guard of the redirect looks at.
///
/// # Errors
/// As [`tcp_offsets`].
pub fn sock_offsets() -> Result<SockOffsets, BtfError> {
    /// The kernel that runs does not change, and its types take megabytes to read.
    static FOUND: OnceLock<SockOffsets> = OnceLock::new();
    match FOUND.get() {
        Some(found) => Ok(*found),
        None => find_sock_offsets().map(|found| *FOUND.get_or_init(|| found)),
    }
}

fn find_sock_offsets() -> Result<SockOffsets, BtfError> {
    let btf = Btf::parse(fs::read(VMLINUX)?)?;
    let tcp = |path: &str| btf.offset("tcp_sock", path);
    let sock = |path: &str| tcp(&format!("inet_conn.icsk_inet.sk.{path}"));
    Ok(SockOffsets {
        remote_v4: sock("__sk_common.skc_daddr")?,
        local_v4: sock("__sk_common.skc_rcv_saddr")?,
        remote_v6: sock("__sk_common.skc_v6_daddr")?,
        local_v6: sock("__sk_common.skc_v6_rcv_saddr")?,
        remote_port: sock("__sk_common.skc_dport")?,
        local_port: sock("__sk_common.skc_num")?,
        state: sock("__sk_common.skc_state")?,
        shutdown: sock("sk_shutdown")?,
        queued: sock("sk_backlog.rmem_alloc")?,
        receive_buffer: sock("sk_rcvbuf")?,
        write_seq: tcp("write_seq")?,
        copied_seq: tcp("copied_seq")?,
        layer_above: tcp("inet_conn.icsk_ulp_ops")?,
        is_mptcp: match tcp("is_mptcp") {
            Err(BtfError::Missing { .. }) => SockOffsets::ABSENT,
            found => found?,
        },
    })
}

/// Type information, indexed by type id.
struct Btf {
    data: Vec<u8>,
    strings: Range<usize>,
    /// Where the record of each type begins; id 0 is `void` and has none.
    types: Vec<usize>,
}

const STRUCT: u32 = 4;
const UNION: u32 = 5;
const RECORD: usize = 12;
const MEMBER: usize = 12;

impl Btf {
    fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        const MAGIC: u32 = 0xeb9f;
        let header = |at| word(&data, at).map(|word| word as usize);
        if word(&data, 0)? & 0xffff != MAGIC {
            return Err(BtfError::Malformed);
        }
        let (header_len, type_off, type_len) = (header(4)?, header(8)?, header(12)?);
        let (string_off, string_len) = (header(16)?, header(20)?);
        let strings = header_len + string_off..header_len + string_off + string_len;
        if strings.end > data.len() {
            return Err(BtfError::Malformed);
        }
        let mut types = vec![0];
        let (mut at, end) = (header_len + type_off, header_len + type_off + type_len);
        while at < end {
            types.push(at);
            at += RECORD + trailer(word(&data, at + 4)?).ok_or(BtfError::Malformed)?;
        }
        Ok(Self { data, strings, types })
    }

    /// Offset in bytes of a field, by a path of names, from the start of a structure.
    fn offset(&self, root: &str, path: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::Missing {
            root: root.to_owned(),
            path: path.to_owned(),
        };
        let mut record = self.structure(root)?.ok_or_else(missing)?;
        let mut bits = 0;
        for name in path.split('.') {
            let (offset, type_id) = self.member(record, name)?.ok_or_else(missing)?;
            bits += offset;
            record = self
                .types
                .get(type_id as usize)
                .copied()
                .ok_or(BtfError::Malformed)?;
        }
        Ok(bits / 8)
    }

    fn structure(&self, name: &str) -> Result<Option<usize>, BtfError> {
        for &record in &self.types[1..] {
            if kind(word(&self.data, record + 4)?) == STRUCT && self.name(record)? == name.as_bytes() {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Offset in bits and type of a member, also of members without a name.
    fn member(&self, record: usize, name: &str) -> Result<Option<(u32, u32)>, BtfError> {
        let info = word(&self.data, record + 4)?;
        if !matches!(kind(info), STRUCT | UNION) {
            return Ok(None);
        }
        // With the kind flag the upper byte of an offset is the width of a bit field.
        let mask = if info >> 31 == 1 { 0x00ff_ffff } else { u32::MAX };
        for index in 0..len(info) {
            let at = record + RECORD + index * MEMBER;
            let (type_id, offset) = (word(&self.data, at + 4)?, word(&self.data, at + 8)? & mask);
            let member = self.name(at)?;
            if member == name.as_bytes() {
                return Ok(Some((offset, type_id)));
            }
            if member.is_empty() {
                let inner = self
                    .types
                    .get(type_id as usize)
                    .copied()
                    .ok_or(BtfError::Malformed)?;
                if let Some((more, type_id)) = self.member(inner, name)? {
                    return Ok(Some((offset + more, type_id)));
                }
            }
        }
        Ok(None)
    }

    /// The name of a type or member, whose record begins with the place of its name.
    fn name(&self, record: usize) -> Result<&[u8], BtfError> {
        let strings = &self.data[self.strings.clone()];
        let text = strings
            .get(word(&self.data, record)? as usize..)
            .ok_or(BtfError::Malformed)?;
        text.split(|&byte| byte == 0).next().ok_or(BtfError::Malformed)
    }
}

fn word(data: &[u8], at: usize) -> Result<u32, BtfError> {
    let bytes = data
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(BtfError::Malformed)?;
    Ok(u32::from_ne_bytes(bytes))
}

const fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

const fn len(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// Bytes behind the record of a type, by its kind; `None` for a kind newer than this program.
const fn trailer(info: u32) -> Option<usize> {
    Some(match kind(info) {
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // Array.
        3 => 12,
        // Structure, union, data section, 64-bit enumeration.
        4 | 5 | 15 | 19 => len(info) * 12,
        // Enumeration, function prototype.
        6 | 13 => len(info) * 8,
        // Pointer, forward, typedef, qualifiers, function, float, type tag.
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; struct { struct inner in; }; }; struct inner { int x, y; };`
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0inner\0a\0in\0x\0y\0";
        let types: Vec<u32> = [
            vec![1, 1 << 24, 4, 32],
            vec![5, 4 << 24 | 2, 12, 17, 1, 0, 0, 3, 32],
            vec![0, 4 << 24 | 1, 8, 19, 4, 0],
            vec![11, 4 << 24 | 2, 8, 22, 1, 0, 24, 1, 32],
        ]
        .concat();
        let type_len = u32::try_from(types.len() * 4).unwrap();
        let header = [
            0x0001_eb9f,
            24,
            0,
            type_len,
            type_len,
            u32::try_from(strings.len()).unwrap(),
        ];
        let words = header.iter().chain(&types).flat_map(|word| word.to_ne_bytes());
        words.chain(strings.iter().copied()).collect()
    }

    #[test]
    fn finds_fields_through_nameless_members_and_paths() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset("outer", "a").unwrap(), 0);
        assert_eq!(btf.offset("outer", "in").unwrap(), 4);
        assert_eq!(btf.offset("outer", "in.y").unwrap(), 8);
        assert!(matches!(btf.offset("outer", "z"), Err(BtfError::Missing { .. })));
        assert!(matches!(btf.offset("nobody", "a"), Err(BtfError::Missing { .. })));
    }

    #[test]
    fn cut_data_is_an_error_and_no_panic() {
        let whole = sample();
        for len in 0..whole.len() {
            let parsed = Btf::parse(whole[..len].to_vec());
            let found = parsed.and_then(|btf| btf.offset("outer", "in.y"));
            assert!(found.is_err() || len == whole.len());
        }
    }
}
