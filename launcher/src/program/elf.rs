//! What an executable demands of the host it is to run on: its machine and its C library.

use std::fmt;

use object::{Object, ReadRef, elf, read::elf::ElfFile64, read::elf::FileHeader, read::elf::SectionHeader};

/// A version of the GNU C library, such as 2.36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GlibcVersion {
    /// 2, so far.
    pub(crate) major: u32,
    /// The release.
    pub(crate) minor: u32,
}

impl GlibcVersion {
    /// Reads `2.36`, or a symbol version such as `GLIBC_2.3.4` (whose third part does not count).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("GLIBC_").unwrap_or(text).split('.');
        Some(Self {
            major: parts.next()?.parse().ok()?,
            minor: parts.next()?.parse().ok()?,
        })
    }
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What an executable needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ElfNeeds {
    /// The machine, as `uname -m` names it.
    pub(crate) machine: String,
    /// The newest C library symbols it uses; `None` when it is linked statically.
    pub(crate) glibc: Option<GlibcVersion>,
}

impl ElfNeeds {
    /// Reads them from the file's bytes, or from an [`object::ReadCache`] of a file that need not be in memory as a whole.
    ///
    /// # Errors
    /// When this is no 64-bit ELF executable for x86-64 or aarch64.
    pub(crate) fn of<'data>(bytes: impl ReadRef<'data>) -> Result<Self, object::Error> {
        let file = ElfFile64::<object::Endianness, _>::parse(bytes)?;
        let machine = match file.architecture() {
            object::Architecture::X86_64 => "x86_64".to_owned(),
            object::Architecture::Aarch64 => "aarch64".to_owned(),
            other => format!("{other:?}"),
        };
        Ok(Self {
            machine,
            glibc: newest_glibc(&file)?,
        })
    }
}

fn newest_glibc<'data>(
    file: &ElfFile64<'data, object::Endianness, impl ReadRef<'data>>,
) -> Result<Option<GlibcVersion>, object::Error> {
    let (endian, data) = (file.endian(), file.data());
    let sections = file.elf_header().sections(endian, data)?;
    let mut newest = None;
    for section in sections.iter() {
        if section.sh_type(endian) != elf::SHT_GNU_VERNEED {
            continue;
        }
        let Some((mut needs, link)) = section.gnu_verneed(endian, data)? else {
            continue;
        };
        let strings = sections.strings(endian, data, link)?;
        while let Some((_, mut versions)) = needs.next()? {
            while let Some(version) = versions.next()? {
                let name = version.name(endian, strings)?;
                newest = newest.max(
                    std::str::from_utf8(name)
                        .ok()
                        .filter(|n| n.starts_with("GLIBC_"))
                        .and_then(GlibcVersion::parse),
                );
            }
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_runs_on_this_machine() {
        let file = object::ReadCache::new(std::fs::File::open("/proc/self/exe").unwrap());
        let needs = ElfNeeds::of(&file).unwrap();
        assert_eq!(needs.machine, std::env::consts::ARCH);
        assert!(
            needs
                .glibc
                .is_none_or(|version| version >= GlibcVersion { major: 2, minor: 2 }),
            "{needs:?}"
        );
    }

    #[test]
    fn a_script_is_no_executable() {
        assert!(ElfNeeds::of(&b"#!/bin/sh\necho hello\n"[..]).is_err());
    }

    #[test]
    fn versions_compare_by_number() {
        let parse = |text| GlibcVersion::parse(text).unwrap();
        assert!(parse("GLIBC_2.4") < parse("2.36"));
        assert_eq!(parse("GLIBC_2.3.4").to_string(), "2.3");
        assert_eq!(GlibcVersion::parse("GLIBC_PRIVATE"), None);
    }
}
