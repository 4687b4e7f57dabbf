//! The log of a server that runs as its operator runs it.

mod support;

use serde_json::Value;
use support::Cli;

#[tokio::test]
async fn each_request_is_a_line_of_the_log_and_no_secret_is_in_it() {
    let arguments = ["-vv", "serve", "--port", "0", "--storage", "memory", "--log-format", "json"];
    let mut server = Cli::new("").follow(&[&arguments[..], &["--set", "log.requests=true"]].concat());
    let line = server.line().await.expect("it starts");
    let cli = Cli::new(line.strip_prefix("Listening on ").expect("an address"));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("traceparent: 00-{trace}-b7ad6b7169203331-01");
    let headers = ["-H", "X-Request-Id: abc-1", "-H", &traceparent, "--auth", "Bearer topsecret"];
    cli.run(&[&["create", "a/b"][..], &headers].concat()).await.ok();
    cli.run(&[&["write", "a/b", "hello"][..], &headers].concat()).await.ok();
    cli.run(&["head", "absent"]).await.fails();
    server.signal("TERM").await;
    let log = server.finish().await.1.err;
    assert!(!log.contains("topsecret"), "{log}");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let answered: Vec<Value> = lines.filter(|line| line["target"] == "everstream_server::requests").collect();
    let of = |method: &str, path: &str| {
        let is_it = |line: &&Value| line["fields"]["path"] == path && line["fields"]["method"] == method;
        answered.iter().find(is_it).expect("a line of the request")["fields"].clone()
    };
    for (method, operation, status) in [("PUT", "create", 201), ("POST", "append", 200)] {
        let line = of(method, "/v1/stream/a/b");
        for (field, expected) in [
            ("id", Value::from("abc-1")),
            ("trace", trace.into()),
            ("operation", operation.into()),
            ("status", status.into()),
        ] {
            assert_eq!(line[field], expected, "{line}");
        }
    }
    let absent = of("HEAD", "/v1/stream/absent");
    assert_eq!((&absent["status"], &absent["operation"]), (&Value::from(404), &Value::from("head")));
    assert_eq!(absent["id"].as_str().map(str::len), Some(16), "one was made: {absent}");
}
