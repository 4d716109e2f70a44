//! Looks whether what the configuration names is there. Creates and changes nothing.

use super::problem::Problem;
use super::types::{Identity, ListenAddress};
use super::{Loaded, Origin};
use crate::tls;
use rustix::fs::{Access, access};
use std::fs::File;
use std::io::Read;
use std::path::Path;

impl Loaded {
    /// Reports files that cannot be read and directories that cannot be used by the user who asks.
    pub fn probe(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let look = |problems: &mut Vec<Problem>, key: &str, fault: Option<String>| {
            if let Some(fault) = fault {
                let at = self.settings.get(key).map_or(Origin::Default, |setting| setting.origin.clone());
                problems.push(Problem::new(at, format!("{key}: {fault}")));
            }
        };
        look(&mut problems, "data", directory(&self.config.data));
        if let Identity::Files { certificate, key } = &self.config.tls.identity {
            look(&mut problems, "tls.certificate", pem(certificate));
            look(&mut problems, "tls.key", pem(key));
        }
        if problems.is_empty()
            && let Err(fault) = tls::check(&self.config)
        {
            let at = self
                .settings
                .get("tls.certificate")
                .map_or(Origin::Default, |setting| setting.origin.clone());
            problems.push(Problem::new(at, format!("tls.certificate: {fault}")));
        }
        for (number, listener) in self.config.listeners.iter().enumerate() {
            if let ListenAddress::Unix(socket) = &listener.address {
                look(
                    &mut problems,
                    &format!("listener.{number}.address"),
                    socket.parent().and_then(directory),
                );
            }
        }
        problems
    }
}

/// A directory that can be written to, or that could be made.
fn directory(path: &Path) -> Option<String> {
    let shown = path.display();
    match path.metadata() {
        Ok(found) if !found.is_dir() => Some(format!("{shown} is not a directory; name another")),
        Ok(_) => access(path, Access::WRITE_OK | Access::EXEC_OK).err().map(|error| {
            format!("{shown} cannot be written to ({error}); give it to the user that runs postroad")
        }),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Some(format!("{shown} cannot be reached: {error}"))
        }
        Err(_) => {
            let above = path.ancestors().find(|above| above.exists())?;
            access(above, Access::WRITE_OK | Access::EXEC_OK).err().map(|error| {
                format!(
                    "{shown} does not exist and cannot be made in {} ({error}); make it and give it to the user that \
                     runs postroad",
                    above.display()
                )
            })
        }
    }
}

/// A file that can be read and looks like PEM.
fn pem(path: &Path) -> Option<String> {
    const MOST: u64 = 1024 * 1024;
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut text)) {
        Err(error) => Some(format!("cannot read {}: {error}", path.display())),
        Ok(_) if text.windows(11).any(|part| part == b"-----BEGIN ") => None,
        Ok(_) => Some(format!("{} holds nothing in PEM form (-----BEGIN …)", path.display())),
    }
}
