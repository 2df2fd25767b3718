//! `schemas/openapi.json`: OpenAPI 3.1, made from the table of routes and the types that are spoken.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Refusal;
use super::routes::{ALWAYS, Answer, Parameter, ParameterType, ROUTES, Route};

/// The description of everything that can be asked over the control socket.
#[must_use]
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    // What may be left out differs: in a request what has a default, in an answer nothing.
    let mut generators = Generators {
        requests: settings.clone().for_deserialize().into_generator(),
        answers: settings.for_serialize().into_generator(),
    };
    let mut paths = Map::new();
    for route in ROUTES {
        let operations = paths.entry(route.path).or_insert_with(|| json!({}));
        operations[route.method.word().to_lowercase()] = operation(route, &mut generators);
    }
    let mut schemas = generators.requests.take_definitions(true);
    schemas.extend(generators.answers.take_definitions(true));
    schemas.sort_keys();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "orch, the control socket",
            "version": "1",
            "description": DESCRIPTION,
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": "http://orch", "description": "<state directory>/control.sock, a Unix socket"}],
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

const DESCRIPTION: &str = "A running project: `<state directory>/control.sock`, for the user alone who runs it. \
                           HTTP/1.1, one request a connection. A value that is absent is null, not missing; \
                           times are RFC 3339; every status from 400 on has a Refusal. Keys may be added to \
                           answers; a key of a request that is not known is refused.";

/// The two ways to make a schema of a type; no type is in both a request and an answer.
struct Generators {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

fn operation(route: &Route, generators: &mut Generators) -> Value {
    let mut operation = json!({"operationId": route.id(), "summary": route.summary});
    if !route.description.is_empty() {
        operation["description"] = route.description.into();
    }
    let mut parameters: Vec<Value> = route.query.iter().map(parameter).collect();
    parameters.extend(
        route
            .named()
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})),
    );
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(shape) = route.request {
        operation["requestBody"] =
            json!({"required": false, "content": content(shape(&mut generators.requests).into())});
    }
    operation["responses"] = responses(route, &mut generators.answers);
    operation
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.of {
        ParameterType::Number => json!({"type": "integer", "minimum": 0}),
        ParameterType::Truth => json!({"type": "boolean", "default": false}),
        ParameterType::Text => json!({"type": "string"}),
        ParameterType::Names => json!({"type": "array", "items": {"type": "string"}}),
    };
    json!({
        "name": parameter.name,
        "in": "query",
        "required": false,
        "description": parameter.description,
        "schema": schema,
    })
}

fn content(schema: Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

fn responses(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    match route.answer {
        Answer::One(status, shape) => {
            let content = content(shape(generator).into());
            responses.insert(status.to_string(), json!({"description": "Done", "content": content}));
        }
        Answer::Lines(description) => {
            let content = json!({"application/x-ndjson": {"schema": {"type": "string"}}});
            responses.insert("200".into(), json!({"description": description, "content": content}));
        }
        Answer::EachLine(description, shape) => {
            let content = json!({"application/x-ndjson": {"schema": shape(generator)}});
            responses.insert("200".into(), json!({"description": description, "content": content}));
        }
        Answer::Object => {
            let content = content(json!({"type": "object"}));
            responses.insert("200".into(), json!({"description": "Done", "content": content}));
        }
        Answer::End => {}
    }
    let refusal: Value = generator.subschema_for::<Refusal>().into();
    let mut statuses: Vec<u16> = ALWAYS.iter().chain(route.refusals).copied().collect();
    statuses.sort_unstable();
    for status in statuses {
        let refused = json!({"description": meaning(status), "content": content(refusal.clone())});
        responses.insert(status.to_string(), refused);
    }
    Value::Object(responses)
}

/// What a refusal means, by its status.
fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request can't be read, or says what can't be",
        403 => "orch is another user's",
        404 => "There is no such component",
        408 => "The request did not come in time",
        409 => "It can't be done now: orch is ending or becoming another image, or it was refused",
        413 => "The body of the request is too long",
        431 => "The head of the request is too long",
        500 => "A fault in orch, or of the disk",
        503 => "Too many are asking at once",
        _ => "Refused",
    }
}

impl Route {
    /// Its name for those who make programs from the description: the path without what is always the same.
    fn id(&self) -> &'static str {
        let path = self.path.trim_start_matches("/v1/").trim_end_matches(".json");
        path.split('/').next().unwrap_or(path)
    }

    /// What stands in braces in its path.
    fn named(&self) -> Option<&'static str> {
        let (_, rest) = self.path.split_once('{')?;
        rest.split_once('}').map(|(name, _)| name)
    }
}
