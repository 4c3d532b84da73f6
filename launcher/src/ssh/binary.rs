//! The binary that runs on hosts: which bytes, under which digest, for which machines.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flink_rpc::messages::BlobDigest;
use sha2::{Digest, Sha256};

/// A file that is uploaded under its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    path: PathBuf,
    digest: BlobDigest,
    size: u64,
}

impl Binary {
    /// The running flinkctl. Its bytes are read through `/proc/self/exe`, which stays the same file when somebody installs a
    /// newer one meanwhile. Blocks for some milliseconds when the digest is not in the cache.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn running(cache: Option<&Path>) -> io::Result<Self> {
        Self::of(Path::new("/proc/self/exe"), cache)
    }

    /// A file. With `cache`, a directory of digests keyed by inode, size and times, its bytes are hashed only when they are new:
    /// a release build costs 15 ms, a debug build some hundred.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of(path: &Path, cache: Option<&Path>) -> io::Result<Self> {
        let mut file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        let entry = cache.map(|directory| directory.join(format!("{:x}-{:x}", metadata.dev(), metadata.ino())));
        let version = version(&metadata);
        let known = entry.as_deref().and_then(|entry| cached(entry, &version));
        let digest = match known {
            Some(digest) => digest,
            None => hash(&mut file)?,
        };
        if let (None, Some(entry)) = (known, entry) {
            // A cache that cannot be written costs time, nothing else.
            let _slow = store(&entry, &format!("{version} {digest}\n"));
        }
        Ok(Self {
            path: path.to_owned(),
            digest,
            size: metadata.len(),
        })
    }

    /// Where its bytes are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub const fn digest(&self) -> BlobDigest {
        self.digest
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

fn version(metadata: &fs::Metadata) -> String {
    format!(
        "{} {}.{:09} {}.{:09}",
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec()
    )
}

fn cached(entry: &Path, version: &str) -> Option<BlobDigest> {
    let text = fs::read_to_string(entry).ok()?;
    let (known, digest) = text.trim().rsplit_once(' ')?;
    (known == version).then(|| parse_digest(digest)).flatten()
}

fn parse_digest(text: &str) -> Option<BlobDigest> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(BlobDigest(digest))
}

fn store(entry: &Path, text: &str) -> io::Result<()> {
    let directory = entry.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.persist(entry)?;
    Ok(())
}

fn hash(file: &mut fs::File) -> io::Result<BlobDigest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(BlobDigest(hash.finalize().into())),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_that_of_sha256sum_and_is_cached_until_the_file_changes() {
        let directory = tempfile::tempdir().expect("tempdir");
        let (file, cache) = (directory.path().join("f"), directory.path().join("cache"));
        fs::write(&file, "hello").expect("writes");
        let first = Binary::of(&file, Some(&cache)).expect("hashes");
        assert_eq!(
            first.digest().to_string(),
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
        assert_eq!(first.size(), 5);
        let entry = fs::read_dir(&cache)
            .expect("cache")
            .flatten()
            .next()
            .expect("entry")
            .path();
        // A wrong digest in the cache proves that the second call took it from there.
        let text = fs::read_to_string(&entry).expect("reads");
        fs::write(&entry, text.replace("2cf2", "ffff")).expect("writes");
        let second = Binary::of(&file, Some(&cache)).expect("cached");
        assert!(second.digest().to_string().starts_with("ffff"));
        fs::write(&file, "hello!").expect("writes");
        let third = Binary::of(&file, Some(&cache)).expect("hashes");
        assert!(third.digest().to_string().starts_with("ce06092fb948d9ff"));
    }
}
