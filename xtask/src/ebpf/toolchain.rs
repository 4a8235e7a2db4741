//! Which toolchain builds the kernel half: a pure function of what was found.

use std::fmt;
use std::path::PathBuf;

use super::facts::Facts;

/// The ways to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A nightly toolchain of rustup that builds core itself
    Rustup,
    /// The rustc of Debian with its prebuilt core
    Debian,
}

/// A complete toolchain.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    /// The rustc.
    pub compiler: Compiler,
    /// What it links with.
    pub linker: PathBuf,
}

/// A rustc that builds for the kernel.
#[derive(Debug, PartialEq, Eq)]
pub enum Compiler {
    /// Builds core first.
    Rustup { toolchain: String },
    /// Has core prebuilt.
    System { rustc: PathBuf },
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// Neither rustup nor the distribution has one.
    #[error("no rustc builds for bpfel-unknown-none here")]
    Compiler,
    /// It would do if it had its source.
    #[error("rustup's {0} lacks its source (rustup component add rust-src --toolchain {0})")]
    Source(String),
    /// The compiler that was asked for.
    #[error("the toolchain asked for is not here")]
    Wish,
    /// It does not run, or is not there.
    #[error("bpf-linker is missing")]
    Linker,
}

/// Takes what is there; what most developers have is preferred.
pub fn choose(facts: &Facts, wish: Option<Kind>) -> Result<Choice, Lack> {
    let rustup = facts
        .nightly
        .clone()
        .map(|toolchain| Compiler::Rustup { toolchain });
    let system = facts.system_rustc.clone().map(|rustc| Compiler::System { rustc });
    let compiler = match wish {
        None => rustup.or(system),
        Some(Kind::Rustup) => rustup,
        Some(Kind::Debian) => system,
    };
    let compiler = compiler.ok_or_else(|| match (wish, &facts.nightly_without_source) {
        (None | Some(Kind::Rustup), Some(nightly)) => Lack::Source(nightly.clone()),
        (None, None) => Lack::Compiler,
        (Some(_), _) => Lack::Wish,
    })?;
    let linker = facts.linker.clone().ok_or(Lack::Linker)?;
    Ok(Choice { compiler, linker })
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.compiler {
            Compiler::Rustup { toolchain } => write!(f, "rustup's {toolchain}")?,
            Compiler::System { rustc } => write!(f, "the distribution's {}", rustc.display())?,
        }
        write!(f, " and {}", self.linker.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Facts {
        Facts {
            nightly: Some("nightly-x".to_owned()),
            nightly_without_source: None,
            system_rustc: Some("/usr/bin/rustc".into()),
            linker: Some("/bin/bpf-linker".into()),
        }
    }

    fn kind(facts: &Facts, wish: Option<Kind>) -> Result<Kind, Lack> {
        choose(facts, wish).map(|choice| match choice.compiler {
            Compiler::Rustup { .. } => Kind::Rustup,
            Compiler::System { .. } => Kind::Debian,
        })
    }

    #[test]
    fn rustup_is_preferred_unless_told_otherwise() {
        assert_eq!(kind(&all(), None), Ok(Kind::Rustup));
        assert_eq!(kind(&all(), Some(Kind::Debian)), Ok(Kind::Debian));
    }

    #[test]
    fn a_nightly_without_source_gives_way_to_debian() {
        let facts = Facts {
            nightly: None,
            nightly_without_source: Some("nightly-x".to_owned()),
            ..all()
        };
        assert_eq!(kind(&facts, None), Ok(Kind::Debian));
        assert_eq!(
            kind(&facts, Some(Kind::Rustup)),
            Err(Lack::Source("nightly-x".to_owned()))
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            kind(
                &Facts {
                    linker: None,
                    ..all()
                },
                None
            ),
            Err(Lack::Linker)
        );
        assert_eq!(kind(&Facts::default(), None), Err(Lack::Compiler));
        assert_eq!(
            kind(
                &Facts {
                    nightly: None,
                    ..all()
                },
                Some(Kind::Rustup)
            ),
            Err(Lack::Wish)
        );
        let facts = Facts {
            nightly: None,
            system_rustc: None,
            nightly_without_source: Some("nightly-x".to_owned()),
            ..all()
        };
        assert_eq!(kind(&facts, None), Err(Lack::Source("nightly-x".to_owned())));
    }
}
