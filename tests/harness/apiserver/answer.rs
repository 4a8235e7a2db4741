//! One request: who asks, what for, and what is answered.

use std::sync::Arc;

use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, header};
use serde_json::Value;

use super::delete::{self, Options};
use super::discovery::{Document, document};
use super::exec;
use super::failure::{Answer, Failure};
use super::faults::Gone;
use super::list;
use super::log;
use super::logs;
use super::object::Object;
use super::patch;
use super::query::Query;
use super::route::{self, Route, Target};
use super::selector::Selector;
use super::shared::Shared;
use super::stream::{self, Lines};
use super::watch::{self, Watcher};
use super::write::{self, Writer};

/// What goes over the wire.
pub type Body = Either<Full<Bytes>, Lines>;

/// Bytes of a request that are taken, as the real server's default.
const MOST: usize = 3 << 20;

/// The code in the first event of a watch, where the status of the answer is 200.
#[derive(Clone, Copy, Debug)]
struct Told(u16);

/// Answers a request; `certificate` is what the client sent in the handshake.
pub async fn answer(
    shared: Arc<Shared>,
    certificate: Option<Arc<[u8]>>,
    request: Request<Incoming>,
) -> Response<Body> {
    let headers = request.headers();
    let mut entry = log::Request::new(request.uri().path(), text(headers, USER_AGENT));
    let answered = serve(&shared, certificate.as_deref(), request, &mut entry).await;
    let response = answered.unwrap_or_else(|failure| refuse(&failure));
    let told = response.extensions().get::<Told>().map(|told| told.0);
    entry.status = told.unwrap_or_else(|| response.status().as_u16());
    shared.note(entry);
    response
}

async fn serve(
    shared: &Arc<Shared>,
    certificate: Option<&[u8]>,
    request: Request<Incoming>,
    entry: &mut log::Request,
) -> Answer<Response<Body>> {
    let (mut head, body) = request.into_parts();
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let route = route::parse(head.uri.path());
    let verb = match (&route, &query) {
        (Some(Route::Objects(target)), Ok(query)) => {
            let verb = verb(&head.method, target, query);
            entry.note(verb.unwrap_or_default(), target, query);
            verb
        }
        _ => None,
    };
    let (delay, refusal) = shared.interference(entry);
    tokio::time::sleep(delay).await;
    {
        let access = shared.access();
        let user = access.authenticate(certificate, header_text(&head.headers, AUTHORIZATION))?;
        entry.user.clone_from(&user.name);
        if let (Some(Route::Objects(target)), Some(verb)) = (&route, verb) {
            access.authorize(user, verb, target)?;
        }
    }
    if let Some((code, retry_after)) = refusal {
        return Err(Failure::trouble(code, retry_after));
    }
    let query = query?;
    match route.ok_or_else(Failure::no_such_path)? {
        Route::Other(path) => match document(&path) {
            Some(Document::Json(value)) => Ok(json(StatusCode::OK, value.to_string())),
            Some(Document::Text(text)) => Ok(plain(text)),
            None => Err(Failure::no_such_path()),
        },
        Route::Objects(target) => {
            let verb = verb.ok_or_else(Failure::method_not_allowed)?;
            match target.subresource.as_deref() {
                Some("exec") => return exec::open(shared, &target, &mut head),
                Some("log") => return logs::read(shared, &target, &head).map(plain),
                _ => {}
            }
            check_accept(&head.headers)?;
            let body = collect(body).await?;
            objects(shared, verb, &target, &query, &head.headers, &body)
        }
    }
}

fn verb(method: &Method, target: &Target, query: &Query) -> Option<&'static str> {
    let one = target.name.is_some();
    match (method, one) {
        (&Method::GET, true) => Some("get"),
        (&Method::GET, false) if query.watch() => Some("watch"),
        (&Method::GET, false) => Some("list"),
        (&Method::PUT, true) => Some("update"),
        (&Method::PATCH, true) => Some("patch"),
        (&Method::DELETE, true) if target.subresource.is_none() => Some("delete"),
        (&Method::DELETE, false) => Some("deletecollection"),
        // Something that is in namespaces is made in one.
        (&Method::POST, false) if target.namespace.is_some() || !target.resource.namespaced => Some("create"),
        _ => None,
    }
}

fn objects(
    shared: &Arc<Shared>,
    verb: &str,
    target: &Target,
    query: &Query,
    headers: &HeaderMap,
    body: &[u8],
) -> Answer<Response<Body>> {
    let resource = target.resource;
    let selector = Selector::parse(
        resource,
        target.namespace.as_deref(),
        &query.label_selector,
        &query.field_selector,
    )?;
    match verb {
        "list" => {
            let asked = query.version()?.unwrap_or_default();
            if let Some(current) = shared.lags_behind(asked) {
                return Err(Failure::too_large(asked, current));
            }
            let listing = {
                let store = shared.store();
                list::list(&store, resource, &selector, query, shared.cached(&store))?
            };
            Ok(json(StatusCode::OK, listing.body(resource)))
        }
        "watch" => watch(shared, target, selector, query),
        "get" => {
            let found = write::find(&shared.store(), target)?;
            Ok(whole(StatusCode::OK, &found))
        }
        "delete" | "deletecollection" => {
            let options = delete_options(query, body)?;
            let mut writer = writer(query, headers, target);
            writer.dry_run |= options.dry_run();
            if verb == "delete" {
                let deleted = shared.write(|store| delete::delete(store, target, &options, &writer))?;
                return Ok(json(StatusCode::OK, deleted.body()));
            }
            let listing = shared.write(|store| {
                let listing = list::list(store, resource, &selector, query, store.version())?;
                delete::delete_collection(store, target, &selector, &options, &writer);
                Ok(listing)
            })?;
            Ok(json(StatusCode::OK, listing.body(resource)))
        }
        "patch" => {
            let format = text(headers, CONTENT_TYPE);
            let writer = writer(query, headers, target);
            let (object, created) =
                shared.write(|store| patch::patch(store, target, format, body, query, &writer))?;
            let status = if created {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            Ok(whole(status, &object))
        }
        _ => {
            let value = read(headers, body)?;
            let writer = writer(query, headers, target);
            if verb == "create" {
                let object = shared.write(|store| write::create(store, target, value, &writer))?;
                return Ok(whole(StatusCode::CREATED, &object));
            }
            let object = shared.write(|store| write::replace(store, target, value, &writer))?;
            Ok(whole(StatusCode::OK, &object))
        }
    }
}

fn watch(shared: &Arc<Shared>, target: &Target, selector: Selector, query: &Query) -> Answer<Response<Body>> {
    let resource = target.resource;
    let options = stream::Options {
        bookmarks: query.bookmarks(),
        timeout: query.timeout_seconds()?.map(std::time::Duration::from_secs),
    };
    match shared.faults().gone {
        Some(Gone::Status) => return Err(Failure::trouble(410, None)),
        Some(Gone::Event) => return Ok(expired(&Failure::trouble(410, None))),
        None => {}
    }
    let started = {
        let store = shared.store();
        Watcher::start(&store, resource, selector, query, shared.cached(&store))
    };
    let (watcher, events) = match started {
        Ok(started) => started,
        // Past the checks of the request, the real server's watches answer with an event.
        Err(failure) if failure.code == 410 => return Ok(expired(&failure)),
        Err(failure) => return Err(failure),
    };
    let lines = stream::open(shared.clone(), resource, watcher, events, options);
    let mut response = Response::new(Either::Right(lines));
    decorate(&mut response);
    Ok(response)
}

/// A watch of one event: the version is too old. The log says 410.
fn expired(failure: &Failure) -> Response<Body> {
    let mut response = json(StatusCode::OK, watch::error(failure));
    response.extensions_mut().insert(Told(failure.code));
    response
}

fn writer(query: &Query, headers: &HeaderMap, target: &Target) -> Writer {
    let agent = text(headers, USER_AGENT);
    let manager = if query.field_manager.is_empty() {
        agent.split('/').next().unwrap_or_default()
    } else {
        &query.field_manager
    };
    Writer {
        manager: manager.into(),
        now: super::now(),
        status: target.subresource.is_some(),
        dry_run: query.dry_run(),
    }
}

fn delete_options(query: &Query, body: &[u8]) -> Answer<Options> {
    let mut options: Options = if body.is_empty() {
        Options::default()
    } else {
        serde_json::from_slice(body).map_err(|error| Failure::bad_request(error.to_string()))?
    };
    if let Some(seconds) = query.grace_period_seconds()? {
        options.grace_period_seconds = Some(seconds);
    }
    Ok(options)
}

/// An object in the body: JSON, or YAML.
fn read(headers: &HeaderMap, body: &[u8]) -> Answer<Value> {
    let format = text(headers, CONTENT_TYPE);
    match format.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" => serde_json::from_slice(body).map_err(|error| {
            Failure::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
        }),
        "application/yaml" => patch::yaml(body),
        _ => Err(Failure::unsupported_media_type(&[
            "application/json",
            "application/yaml",
        ])),
    }
}

/// The body. One that is too long is read to its end all the same: a client that still writes would not see the answer.
async fn collect(mut body: Incoming) -> Answer<Bytes> {
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::bad_request(error.to_string()))?;
        let piece = frame.into_data().unwrap_or_default();
        length += piece.len();
        if length <= MOST {
            bytes.extend_from_slice(&piece);
        }
    }
    if length > MOST {
        return Err(Failure::too_large_body(MOST));
    }
    Ok(bytes.into())
}

fn check_accept(headers: &HeaderMap) -> Answer<()> {
    let accept = text(headers, ACCEPT);
    let taken = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        ["*/*", "application/*", "application/json"].contains(&kind)
    };
    if accept.is_empty() || accept.split(',').any(taken) {
        return Ok(());
    }
    Err(Failure::not_acceptable())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    header_text(headers, name).unwrap_or_default()
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn whole(status: StatusCode, object: &Object) -> Response<Body> {
    let mut body = Vec::new();
    object.write(&mut body);
    body.push(b'\n');
    json(status, body)
}

fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    decorate(&mut response);
    response
}

fn plain(text: impl Into<Bytes>) -> Response<Body> {
    let mut response = json(StatusCode::OK, text);
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

fn refuse(failure: &Failure) -> Response<Body> {
    let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, format!("{}\n", failure.body()));
    if let Some(seconds) = failure.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn decorate(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    if let Ok(id) = super::identity::uid().parse() {
        headers.insert("audit-id", id);
    }
}
