//! How many connections there are, in all and from each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts what is open.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    all: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// Which limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    All,
    Address,
}

/// One open connection; dropped, it is no longer counted.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    address: Option<IpAddr>,
}

impl Connections {
    /// Counts one more in all, or says that it would be one too many.
    pub(crate) fn enter(self: &Arc<Self>, limit: usize) -> Result<Place, Over> {
        if self.all.fetch_add(1, Ordering::Relaxed) >= limit {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return Err(Over::All);
        }
        Ok(Place { connections: Arc::clone(self), address: None })
    }
}

impl Place {
    /// Counts the connection for its address; loopback is not counted.
    pub(crate) fn of(&mut self, address: IpAddr, limit: usize) -> Result<(), Over> {
        let address = address.to_canonical();
        if address.is_loopback() {
            return Ok(());
        }
        let mut by_address = self.connections.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_insert(0);
        if *count >= limit {
            return Err(Over::Address);
        }
        *count += 1;
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            let mut by_address = self.connections.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = by_address.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    by_address.remove(&address);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_places_come_back() {
        let connections = Arc::new(Connections::default());
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let mut first = connections.enter(2).unwrap();
        assert_eq!(first.of(address, 1), Ok(()));
        let mut second = connections.enter(2).unwrap();
        assert_eq!(second.of(address, 1), Err(Over::Address));
        assert_eq!(second.of("::ffff:192.0.2.1".parse().unwrap(), 1), Err(Over::Address));
        assert_eq!(second.of("127.0.0.1".parse().unwrap(), 0), Ok(()));
        assert_eq!(connections.enter(2).unwrap_err(), Over::All);
        drop(first);
        assert_eq!(second.of(address, 1), Ok(()));
        drop(second);
        assert!(connections.by_address.lock().unwrap().is_empty());
        assert!(connections.enter(1).is_ok());
    }
}
