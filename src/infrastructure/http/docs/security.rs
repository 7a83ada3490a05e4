//! Credentials in the OpenAPI document: operations about buyers may need them, by configuration.

use serde_json::{Map, Value, json};

/// Names the credentials, at each operation that can refuse a request for lack of them.
pub(super) fn add_credentials(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let operations = paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    for operation in operations.filter(|operation| operation["responses"].get("401").is_some()) {
        // The empty one: where `auth.buyers` is none, nothing is needed.
        operation["security"] = json!([{}, { "buyer": [] }, { "service": [] }]);
    }
    document["components"]["securitySchemes"] = json!({
        "buyer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token whose `sub` is the buyer, where `auth.buyers` is `jwt`.",
        },
        "service": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Api-Key",
            "description": "The key of a service that buys for buyers.",
        },
    });
}
