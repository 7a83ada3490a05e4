//! Spans, and the futures that run in them.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context as TaskContext, Poll, ready};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{
    Link as SpanLink, SpanContext, SpanKind, Status, TraceContextExt, Tracer,
};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use pin_project_lite::pin_project;

pub(crate) use opentelemetry::trace::SpanKind as Kind;

use super::header;
use super::sampling::Sampling;

/// Links of one span, at most: a batch may have hundreds of callers.
const MAX_LINKS: usize = 128;

static TRACING: OnceLock<Tracing> = OnceLock::new();

/// How this process traces.
struct Tracing {
    tracer: SdkTracer,
    sampling: Sampling,
}

/// Begins to trace, for the rest of the process. Further calls change nothing.
pub(crate) fn install(tracer: SdkTracer, sampling: Sampling) {
    let _ = TRACING.set(Tracing { tracer, sampling });
}

/// The head of a trace within this process. It has a span if it is traced.
#[derive(Debug, Default)]
pub(crate) struct Root {
    context: Option<Context>,
}

/// The ids of a span, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) trace: opentelemetry::trace::TraceId,
    pub(crate) span: opentelemetry::trace::SpanId,
}

/// A span that another one is linked to. Boxed, because nearly every request has none.
#[derive(Debug)]
pub(crate) struct Link(Box<Context>);

impl Root {
    /// Of a request with these headers. A caller's span that is not traced has no span here, but its ids are in the log.
    pub(crate) fn of_request(headers: &HeaderMap, name: impl Into<Cow<'static, str>>) -> Self {
        let Some(tracing) = TRACING.get() else {
            return Self::default();
        };
        let parent = header::parse(headers);
        if tracing.sampling.takes(parent.as_ref()) {
            return tracing.root(parent, (name.into(), Kind::Server));
        }
        let parent = parent.map(|parent| Context::new().with_remote_span_context(parent));
        Self { context: parent }
    }

    /// Of work that no request asked for.
    pub(crate) fn of_work(name: &'static str, kind: Kind) -> Self {
        match TRACING.get() {
            Some(tracing) if tracing.sampling.takes(None) => {
                tracing.root(None, (Cow::Borrowed(name), kind))
            }
            Some(_) | None => Self::default(),
        }
    }

    /// Runs a future in the span.
    pub(crate) fn run<F: Future>(&self, future: F) -> Spanned<F> {
        Spanned { future, context: self.context.clone(), ends: false }
    }

    /// Makes it the current span until the guard is dropped, for work without an `.await`.
    pub(crate) fn enter(&self) -> Option<ContextGuard> {
        self.context.clone().map(Context::attach)
    }

    /// The headers for whom the span calls: `traceparent`, and the `tracestate` that came with the caller's.
    pub(crate) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let Some(context) = &self.context else { return Vec::new() };
        header::write(context.span().span_context())
    }

    /// The ids of the span, if it is traced.
    pub(crate) fn recorded_ids(&self) -> Option<Ids> {
        let context = self.context.as_ref()?;
        context.span().is_recording().then(|| ids(context.span().span_context()))
    }

    /// Names the span, describes it, and ends it. `fault` is why its work failed.
    pub(crate) fn end(
        self,
        describe: impl FnOnce() -> (String, Vec<KeyValue>),
        fault: Option<&'static str>,
    ) {
        let Some(context) = self.context else { return };
        let span = context.span();
        if !span.is_recording() {
            return;
        }
        let (name, attributes) = describe();
        span.update_name(name);
        span.set_attributes(attributes);
        if let Some(fault) = fault {
            span.set_status(Status::error(fault));
        }
        span.end();
    }
}

impl Tracing {
    fn root(
        &self,
        parent: Option<SpanContext>,
        (name, kind): (Cow<'static, str>, SpanKind),
    ) -> Root {
        let parent = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let builder = self.tracer.span_builder(name).with_kind(kind);
        let span = builder.start_with_context(&self.tracer, &parent);
        Root { context: Some(parent.with_span(span)) }
    }

    /// The context of a new span below the current one, if that is recorded.
    fn child(
        &self,
        (name, kind): (Cow<'static, str>, SpanKind),
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Option<Context> {
        Context::map_current(|current| {
            if !current.span().is_recording() {
                return None;
            }
            let builder =
                self.tracer.span_builder(name).with_kind(kind).with_attributes(attributes());
            let span = builder.start_with_context(&self.tracer, current);
            Some(current.with_span(span))
        })
    }
}

/// Runs a future in a span below the current one, if that is traced.
pub(crate) fn span<F: Future>(name: &'static str, future: F) -> Spanned<F> {
    span_with((name, Kind::Internal), Vec::new, future)
}

/// [`span`] with its kind and attributes.
pub(crate) fn span_with<F: Future>(
    (name, kind): (&'static str, Kind),
    attributes: impl FnOnce() -> Vec<KeyValue>,
    future: F,
) -> Spanned<F> {
    let child = |tracing: &Tracing| tracing.child((Cow::Borrowed(name), kind), attributes);
    Spanned { future, context: TRACING.get().and_then(child), ends: true }
}

/// Does work without an `.await` in a span below the current one, if that is traced.
pub(crate) fn in_span<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
    let child = |tracing: &Tracing| tracing.child((Cow::Borrowed(name), Kind::Internal), Vec::new);
    let Some(context) = TRACING.get().and_then(child) else {
        return work();
    };
    let done = {
        let _guard = context.clone().attach();
        work()
    };
    context.span().end();
    done
}

/// Runs a future in the span of a batch: below the first of its callers that is traced, and linked to all of them.
pub(crate) fn span_of_batch<F: Future>(
    name: &str,
    (callers, requests): (&[Link], usize),
    future: F,
) -> Spanned<F> {
    let context = TRACING.get().and_then(|tracing| {
        let callers: Vec<&Context> =
            callers.iter().take(MAX_LINKS).map(|Link(context)| &**context).collect();
        let first = *callers.first()?;
        let to = |context: &&Context| {
            SpanLink::new(context.span().span_context().clone(), Vec::new(), 0)
        };
        let links = callers.iter().map(to).collect();
        let requests = i64::try_from(requests).unwrap_or(i64::MAX);
        let builder = tracing
            .tracer
            .span_builder(name.to_owned())
            .with_links(links)
            .with_attributes([KeyValue::new("flash_sale.requests", requests)]);
        let batch = first.with_span(builder.start_with_context(&tracing.tracer, first));
        // From the other traces the batch is found by a link, too.
        for caller in &callers[1..] {
            caller.span().add_link(batch.span().span_context().clone(), Vec::new());
        }
        Some(batch)
    });
    Spanned { future, context, ends: true }
}

/// The current span, for [`span_of_batch`]; `None` if it is not traced.
pub(crate) fn current_link() -> Option<Link> {
    TRACING.get()?;
    Context::map_current(|current| {
        current.span().is_recording().then(|| Link(Box::new(current.clone())))
    })
}

/// The current span's ids; `None` if there is none.
pub(crate) fn current_ids() -> Option<Ids> {
    TRACING.get()?;
    Context::map_current(|current| {
        current.has_active_span().then(|| ids(current.span().span_context()))
    })
}

/// Marks the current span as failed.
pub(crate) fn fail(why: &'static str) {
    if TRACING.get().is_some() {
        Context::map_current(|current| current.span().set_status(Status::error(why)));
    }
}

fn ids(span: &SpanContext) -> Ids {
    Ids { trace: span.trace_id(), span: span.span_id() }
}

pin_project! {
    /// A future in a span, which ends with it unless its owner ends it.
    #[derive(Debug)]
    pub(crate) struct Spanned<F> {
        #[pin]
        future: F,
        context: Option<Context>,
        ends: bool,
    }
}

impl<F: Future> Future for Spanned<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(context) = this.context else {
            return this.future.poll(task);
        };
        let output = {
            let _guard = context.clone().attach();
            ready!(this.future.poll(task))
        };
        if *this.ends {
            context.span().end();
        }
        *this.context = None;
        Poll::Ready(output)
    }
}
