//! Bytes that are named by their digest.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Bytes and their digest.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
}

impl Blob {
    /// Computes the digest.
    pub fn new(bytes: Vec<u8>) -> Self {
        let sha256 = sha256(&bytes);
        Self { bytes, sha256 }
    }

    /// A JSON document.
    pub fn json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    /// As others refer to it.
    pub fn digest(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    /// Where it is in an image layout.
    pub fn path(&self) -> String {
        format!("blobs/sha256/{}", self.sha256)
    }

    /// A content descriptor of OCI.
    pub fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest(), "size": self.bytes.len() })
    }
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_sha256sum() {
        let blob = Blob::new(b"abc".to_vec());
        assert_eq!(
            blob.digest(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(blob.descriptor("text/plain")["size"], 3);
    }
}
