//! Objects: the bytes of uploads, in a folder or in a store that speaks S3.
//!
//! Why behind one type: a node is tried with a folder, and several nodes share a store.
//! Invariants: an object is there in whole or not at all. Its key comes from its content, so writing it again
//! changes nothing. Requests to S3 go through `grandstand-fetch`, to the configured server and to no other.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grandstand_fetch::{FetchError, Fetcher, Policy, Request, Settings};
use http_body_util::{BodyExt, Full};
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::local::LocalFileSystem;
use object_store::{
    Attribute, Attributes, ClientOptions, ObjectStore, ObjectStoreExt, PutOptions, PutPayload, RetryConfig,
};

/// How long one request to S3 may take.
const S3_WITHIN: Duration = Duration::from_secs(30);

/// Bytes of one answer of S3.
const S3_BYTES_MAX: usize = 64 << 20;

/// See the file's head.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    keeps_types: bool,
}

/// Where S3 is, and who asks.
#[derive(Clone)]
pub struct S3 {
    /// `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    pub endpoint: String,
    /// Region; most other implementations ignore it.
    pub region: String,
    /// Bucket. It is not made here.
    pub bucket: String,
    /// Identity of the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
}

/// An object cannot be written, read or removed.
#[derive(Debug)]
pub struct StoreError(String);

impl Objects {
    /// Objects as files in this folder, which is made when it is missing.
    ///
    /// # Errors
    /// The folder cannot be made or used.
    pub fn folder(path: &Path) -> Result<Objects, StoreError> {
        std::fs::create_dir_all(path).map_err(|error| StoreError(format!("{}: {error}", path.display())))?;
        let store = LocalFileSystem::new_with_prefix(path).map_err(StoreError::from)?;
        Ok(Objects { store: Arc::new(store.with_automatic_cleanup(true)), keeps_types: false })
    }

    /// Objects in a bucket.
    ///
    /// # Errors
    /// A value cannot be used. Whether the server answers, the first request shows.
    pub fn s3(s3: &S3) -> Result<Objects, StoreError> {
        let authority = s3.endpoint.split_once("://").map_or(s3.endpoint.as_str(), |(_, rest)| rest);
        let host = authority.trim_end_matches('/');
        let policy = Policy::allowing(&[host]).map_err(StoreError)?;
        let settings = Settings { concurrent_max: 32, per_host_max: 32, ..Settings::new(policy) };
        let fetcher = Fetcher::new(settings).map_err(|error| StoreError(error.to_string()))?;
        let retry = RetryConfig { max_retries: 3, retry_timeout: S3_WITHIN, ..RetryConfig::default() };
        let store = AmazonS3Builder::new()
            .with_endpoint(s3.endpoint.trim_end_matches('/'))
            .with_allow_http(s3.endpoint.starts_with("http://"))
            .with_region(&s3.region)
            .with_bucket_name(&s3.bucket)
            .with_access_key_id(&s3.access_key_id)
            .with_secret_access_key(&s3.secret_access_key)
            .with_retry(retry)
            .with_http_connector(Connector(fetcher))
            .build()
            .map_err(StoreError::from)?;
        Ok(Objects { store: Arc::new(store), keeps_types: true })
    }

    /// Write an object.
    ///
    /// # Errors
    /// The store does not take it.
    pub async fn put(&self, key: &str, bytes: Bytes, media_type: &'static str) -> Result<(), StoreError> {
        let mut options = PutOptions::default();
        if self.keeps_types {
            options.attributes = Attributes::from_iter([(Attribute::ContentType, media_type)]);
        }
        self.store.put_opts(&key.into(), PutPayload::from_bytes(bytes), options).await?;
        Ok(())
    }

    /// Read an object; `None`: there is none.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        match self.store.get(&key.into()).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Remove an object. One that is not there is removed.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.store.delete(&key.into()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

impl From<object_store::Error> for StoreError {
    fn from(error: object_store::Error) -> StoreError {
        StoreError(error.to_string())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store of uploads: {}", self.0)
    }
}

impl std::error::Error for StoreError {}

/// Requests of `object_store` through the guarded client.
#[derive(Clone, Debug)]
struct Connector(Fetcher);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let url = head.uri.to_string();
        let mut asked =
            Request::with_method(head.method, &url, body).bytes_max(S3_BYTES_MAX).within(S3_WITHIN);
        for (name, value) in &head.headers {
            asked = asked.header(name.clone(), value.clone());
        }
        let answer = self.0.send(&asked).await.map_err(fault)?;
        let mut response = hyper::Response::builder().status(answer.status);
        if let Some(headers) = response.headers_mut() {
            *headers = answer.headers;
        }
        let body = HttpResponseBody::new(Full::new(answer.body).map_err(|never| match never {}));
        response.body(body).map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))
    }
}

fn fault(error: FetchError) -> HttpError {
    let kind = match &error {
        FetchError::Connect { .. } | FetchError::Resolve { .. } | FetchError::Busy => HttpErrorKind::Connect,
        FetchError::TooSlow => HttpErrorKind::Timeout,
        FetchError::Protocol(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
