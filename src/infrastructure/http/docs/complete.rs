//! Completes the generated OpenAPI document: examples of parameters and bodies, and references in place of copies.

use serde_json::{Map, Value, json};

use crate::infrastructure::http::openapi::problems;

/// Where a document has its schemas.
const SCHEMAS: &str = "#/components/schemas/";

/// Completes the document.
pub(crate) fn complete(document: &mut Value) {
    let Some(mut schemas) = document["components"]["schemas"].as_object().cloned() else {
        return;
    };
    refer_to_schemas(&mut schemas);
    for operation in operations(document) {
        allow_no_body(operation, &schemas);
        add_examples(operation, &schemas);
    }
    document["components"]["schemas"] = Value::Object(schemas);
    let text = document.to_string();
    let used = problems::examples()
        .filter(|(name, _)| text.contains(&format!("\"{}\"", problems::example_reference(name))));
    document["components"]["examples"] = used.collect::<Map<_, _>>().into();
}

/// Replaces copies of a schema by references. utoipa copies the schemas of a generic type's arguments into it.
fn refer_to_schemas(schemas: &mut Map<String, Value>) {
    let named = schemas.clone();
    for parts in schemas.values_mut().filter_map(Value::as_object_mut) {
        parts.values_mut().for_each(|part| refer_in(part, &named));
    }
}

fn refer_in(value: &mut Value, named: &Map<String, Value>) {
    let has_members = value.get("properties").or_else(|| value.get("allOf")).is_some();
    if has_members && let Some((name, _)) = named.iter().find(|(_, schema)| *schema == value) {
        *value = json!({ "$ref": format!("{SCHEMAS}{name}") });
        return;
    }
    match value {
        Value::Object(members) => members.values_mut().for_each(|member| refer_in(member, named)),
        Value::Array(entries) => entries.iter_mut().for_each(|entry| refer_in(entry, named)),
        _ => {}
    }
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut)
}

/// A body none of whose members is required may be left out, unless it must have one of them. utoipa would make it one that may be
/// null.
fn allow_no_body(operation: &mut Value, schemas: &Map<String, Value>) {
    let Some(body) = operation.get_mut("requestBody") else {
        return;
    };
    let reference = body["content"]["application/json"]["schema"]["$ref"].as_str();
    let name = reference.and_then(|reference| reference.strip_prefix(SCHEMAS));
    let Some(schema) = name.and_then(|name| schemas.get(name)) else {
        return;
    };
    if schema.get("required").is_none() && schema.get("minProperties").is_none() {
        body["required"] = false.into();
    }
}

/// Adds an example to each required parameter and each body without one. Optional parameters have examples in their schemas only:
/// the page that shows the document would send them with every request.
fn add_examples(operation: &mut Value, schemas: &Map<String, Value>) {
    for (name, part) in operation.as_object_mut().into_iter().flatten() {
        match (name.as_str(), part) {
            ("parameters", Value::Array(parameters)) => {
                let required = parameters.iter_mut().filter(|one| one["required"] == true);
                required.for_each(|parameter| add_example(parameter, schemas));
            }
            ("requestBody", body) => add_to_contents(body, schemas),
            ("responses", Value::Object(responses)) => {
                responses.values_mut().for_each(|body| add_to_contents(body, schemas));
            }
            _ => {}
        }
    }
}

fn add_to_contents(body: &mut Value, schemas: &Map<String, Value>) {
    let contents = body.get_mut("content").and_then(Value::as_object_mut);
    contents
        .into_iter()
        .flat_map(Map::values_mut)
        .for_each(|content| add_example(content, schemas));
}

fn add_example(place: &mut Value, schemas: &Map<String, Value>) {
    if place.get("example").or_else(|| place.get("examples")).is_none()
        && let Some(example) = example_of(&place["schema"], schemas)
    {
        place["example"] = example;
    }
}

/// The example of a schema, else one put together from the examples of its required members.
fn example_of(schema: &Value, schemas: &Map<String, Value>) -> Option<Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        return example_of(schemas.get(reference.strip_prefix(SCHEMAS)?)?, schemas);
    }
    let own = schema.get("example").or_else(|| schema["examples"].get(0));
    if let Some(own) = own.or_else(|| schema["enum"].get(0)) {
        return Some(own.clone());
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let mut members = Map::new();
        for part in parts {
            members.extend(example_of(part, schemas)?.as_object()?.clone());
        }
        return Some(members.into());
    }
    if let Some(first) = schema["oneOf"].get(0) {
        return example_of(first, schemas);
    }
    match schema["type"].as_str()? {
        "object" => {
            let required = schema["required"].as_array().into_iter().flatten();
            let members = required.filter_map(Value::as_str).map(|name| {
                Some((name.to_owned(), example_of(&schema["properties"][name], schemas)?))
            });
            Some(members.collect::<Option<Map<_, _>>>()?.into())
        }
        "array" => Some(json!([example_of(&schema["items"], schemas)?])),
        _ => None,
    }
}
