//! A store as clients read one: ranged reads of a name.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lamplighter_client::source::{Body, ByteRange, Kind, Source, SourceError, Trouble};
use object_store::{Error as Fault, GetOptions, GetRange};
use std::sync::atomic::Ordering;

use super::{Store, text_of};

/// Reads a store.
pub struct StoreSource(pub Arc<Store>);

impl Source for StoreSource {
    fn open(&self, name: &str, range: Option<ByteRange>, _: Kind) -> Result<Body, SourceError> {
        self.0.count();
        let wanted = range.map(|r| match r.end {
            Some(end) => GetRange::Bounded(r.start..end.max(r.start + 1)),
            None => GetRange::Offset(r.start),
        });
        let ask = |range| {
            let options = GetOptions { range, ..GetOptions::default() };
            self.0.runtime.block_on(self.0.inner.get_opts(&self.0.key(name), options))
        };
        let answer = match ask(wanted.clone()) {
            // A provider that ignores ranges is an error to the crate below; here a whole file does as well.
            Err(Fault::Generic { .. } | Fault::NotSupported { .. }) if wanted.is_some() => {
                self.0.count();
                ask(None)
            }
            answer => answer,
        };
        let found = answer.map_err(|e| self.error(name, &e))?;
        let (start, length) = (found.range.start, found.range.end - found.range.start);
        let reader = Reader { store: self.0.clone(), stream: found.into_stream(), chunk: Bytes::new() };
        Ok(Body { start, length: Some(length), reader: Box::new(reader) })
    }

    fn describe(&self) -> String {
        self.0.location.clone()
    }
}

impl StoreSource {
    fn error(&self, name: &str, error: &Fault) -> SourceError {
        let (name, site, answer) = (name.to_owned(), self.describe(), text_of(error));
        match error {
            Fault::NotFound { .. } => SourceError::NotFound { name, site, answer },
            Fault::PermissionDenied { .. } | Fault::Unauthenticated { .. } => {
                SourceError::Forbidden { name, site, answer }
            }
            // The provider's client has tried again already.
            _ => SourceError::Transient { name, site, trouble: Trouble::Interrupted(answer), retry_after: None },
        }
    }
}

struct Reader {
    store: Arc<Store>,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.store.runtime.block_on(self.stream.next()) {
                None => return Ok(0),
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => return Err(io::Error::other(text_of(&error))),
            }
        }
        let count = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        self.store.counts.received_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
