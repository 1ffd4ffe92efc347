//! A bucket in memory that stops answering, ignores conditions, or lets another publisher in between.

// Each test file takes what it needs.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{
    Attribute, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Something another publisher does right before a file of this name is written.
type Meddler = Box<dyn FnMut(&InMemory, &tokio::runtime::Handle) + Send>;

/// The bucket.
pub struct Scripted {
    pub inner: InMemory,
    /// Writes and removals that are still carried out; no limit where negative.
    pub writes_left: Arc<AtomicI64>,
    pub ignores_conditions: AtomicBool,
    meddler: Mutex<Option<(String, Meddler)>>,
    /// Names in the order in which they were written.
    pub written: Mutex<Vec<String>>,
}

impl Scripted {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            writes_left: Arc::new(AtomicI64::new(-1)),
            ignores_conditions: AtomicBool::new(false),
            meddler: Mutex::default(),
            written: Mutex::default(),
        })
    }

    /// Lets `meddler` act once, right before `name` is written.
    pub fn before(&self, name: &str, meddler: impl FnMut(&InMemory, &tokio::runtime::Handle) + Send + 'static) {
        *self.meddler.lock().expect("no panic") = Some((name.to_owned(), Box::new(meddler)));
    }

    /// All files, by name.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        blocking(async {
            let found: Vec<ObjectMeta> = self.inner.list(None).try_collect().await.expect("listed");
            let mut files = BTreeMap::new();
            for meta in found {
                let bytes = self.inner.get(&meta.location).await.expect("there").bytes().await.expect("read");
                files.insert(meta.location.to_string(), bytes.to_vec());
            }
            files
        })
    }

    /// Cache header and content type of a file.
    pub fn headers(&self, name: &str) -> [String; 2] {
        let found = blocking(self.inner.get(&Key::from(name))).expect("there");
        [Attribute::CacheControl, Attribute::ContentType]
            .map(|a| found.attributes.get(&a).map(|v| v.to_string()).unwrap_or_default())
    }

    pub fn set(&self, name: &str, bytes: &[u8]) {
        blocking(self.inner.put(&Key::from(name), bytes.to_vec().into())).expect("written");
    }

    pub fn remove(&self, name: &str) {
        blocking(self.inner.delete(&Key::from(name))).expect("removed");
    }

    pub fn take_written(&self) -> Vec<String> {
        std::mem::take(&mut self.written.lock().expect("no panic"))
    }

    fn may_read(&self) -> Result<()> {
        if self.writes_left.load(Ordering::SeqCst) == 0 { Err(gone()) } else { Ok(()) }
    }

    fn may_write(&self) -> Result<()> {
        take_one(&self.writes_left)
    }
}

fn gone() -> Error {
    Error::Generic { store: "scripted", source: "the line is cut".into() }
}

fn take_one(left: &AtomicI64) -> Result<()> {
    match left.load(Ordering::SeqCst) {
        0 => Err(gone()),
        some if some > 0 => {
            left.store(some - 1, Ordering::SeqCst);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Runs what never waits for anything but memory.
pub fn blocking<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl fmt::Display for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scripted")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Scripted {
    async fn put_opts(&self, location: &Key, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let name = location.to_string();
        let meddler = {
            let mut meddler = self.meddler.lock().expect("no panic");
            if meddler.as_ref().is_some_and(|(wanted, _)| *wanted == name) { meddler.take() } else { None }
        };
        if let Some((_, mut meddler)) = meddler {
            meddler(&self.inner, &tokio::runtime::Handle::current());
        }
        self.may_write()?;
        if self.ignores_conditions.load(Ordering::SeqCst) {
            options.mode = PutMode::Overwrite;
        }
        let done = self.inner.put_opts(location, payload, options).await?;
        self.written.lock().expect("no panic").push(name);
        Ok(done)
    }

    async fn put_multipart_opts(
        &self,
        location: &Key,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.may_write()?;
        self.written.lock().expect("no panic").push(location.to_string());
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Key, options: GetOptions) -> Result<GetResult> {
        self.may_read()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Key>>) -> BoxStream<'static, Result<Key>> {
        let left = self.writes_left.clone();
        self.inner.delete_stream(locations.map(move |key| take_one(&left).and(key)).boxed())
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.may_read() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures_util::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> Result<ListResult> {
        self.may_read()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
