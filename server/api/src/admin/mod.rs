//! The admin API and the dashboard, on a listener of their own.
//!
//! Everything below [`API`] wants the admin token; the dashboard's files do not, since they hold no
//! secret. [`guard`] says who may talk to the listener at all. The API describes itself as OpenAPI
//! ([`openapi`]), from which the dashboard's types are generated.

use std::sync::Arc;

use axum::{Router, middleware, response::IntoResponse, routing::get};
use utoipa::openapi::{OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

use self::{
    error::{AdminError, ErrorCode},
    state::Admin,
};

mod assets;
pub mod backups;
mod clock;
mod endpoints;
mod error;
mod figures;
mod guard;
mod job;
mod known;
pub mod logs;
mod process;
mod state;
pub mod storage;

pub use guard::AdminToken;
pub use state::AdminParts;

/// Where the API is.
pub const API: &str = "/_hearth/admin/v1";

/// The admin listener's whole service: the API, its description, and the dashboard; and what runs beside it, to be run
/// until it ends, which it does after [`AdminParts::shutdown`].
pub fn router(parts: AdminParts) -> (Router, impl Future<Output = ()> + Send + use<>) {
    let token = parts.token.clone();
    let admin = Arc::new(Admin::new(parts));
    let background = admin.clone().run();
    let (api, document) = describe();
    let document = axum::body::Bytes::from(render(&document));
    let api = Router::from(api)
        .route(
            "/openapi.json",
            get(async move || ([(http::header::CONTENT_TYPE, "application/json")], document.clone())),
        )
        .fallback(async || AdminError::not_found("The admin API has no such path."))
        .method_not_allowed_fallback(async || {
            AdminError::new(ErrorCode::MethodNotAllowed, "This path does not answer to that method.")
        })
        .layer(middleware::from_fn_with_state(token, guard::authenticate))
        .with_state(admin);
    let router = Router::new()
        .nest(API, api)
        .fallback_service(get(assets::serve).fallback(async || http::StatusCode::METHOD_NOT_ALLOWED.into_response()))
        .layer(middleware::from_fn(guard::protect));
    (router, background)
}

/// The API's OpenAPI document.
pub fn openapi() -> OpenApi {
    describe().1
}

/// The document as text, the way it is served and kept beside the dashboard's sources.
fn render(document: &OpenApi) -> String {
    // Maps with string keys and plain values: serialization cannot fail.
    document.to_pretty_json().unwrap_or_default() + "\n"
}

fn describe() -> (OpenApiRouter<Arc<Admin>>, OpenApi) {
    use utoipa::openapi::{
        InfoBuilder, ServerBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    };

    let info = InfoBuilder::new()
        .title("Hearth admin API")
        .description(Some("Manages one Hearth homeserver. Answers on the admin listener alone."))
        .version("1");
    let base = OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url(API).build()]))
        .security(Some([SecurityRequirement::new("token", [] as [&str; 0])]))
        .build();
    let mut api = OpenApiRouter::with_openapi(base).merge(endpoints::router());
    let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let components = api.get_openapi_mut().components.get_or_insert_default();
    components.add_security_scheme("token", scheme);
    let document = api.to_openapi();
    (api, document)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod work_tests;
