//! A gateway whose engine speaks TLS and asks for a user and a password.

use crate::common::engine::Redis;
use crate::common::tls::certificates;
use crate::common::{Server, eventually, pykv};
use crate::is_skipped;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Where nobody may read but the owner.
fn secret_file(dir: &std::path::Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_engine_with_tls_a_user_and_a_password() {
    if is_skipped("an_engine_with_tls_a_user_and_a_password") {
        return;
    }
    let (dir, ca, pair) = certificates();
    let client = ca.give_client("client", &["client"], &[], "client");
    let (redis, port) = Redis::start_tls(&ca, &pair);
    let url = format!("rediss://localhost:{port}");
    redis.call(&[
        "ACL",
        "SETUSER",
        "gate",
        "on",
        ">open sesame",
        "~*",
        "&*",
        "+@all",
    ]);
    redis.call(&["CONFIG", "SET", "requirepass", "of the default user"]);
    let good = secret_file(dir.path(), "good", "gate open sesame\n");
    let bad = secret_file(dir.path(), "bad", "gate wrong horse\n");
    let ca_flags = ["--tls-ca", &ca.file()].map(str::to_owned);
    let all = |auth: &str| {
        let mut args = vec!["--engine".to_owned(), url.clone()];
        args.extend(ca_flags.clone());
        args.extend(client.client_flags().map(str::to_owned));
        args.extend(["--engine-auth-file".to_owned(), auth.to_owned()]);
        args
    };
    let start = |args: &[String]| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Server::start(&args)
    };
    let node = start(&all(&good));
    node.get("/readyz").expect(200);
    node.client().add("key", "value").expect(201);
    assert_eq!(node.get("/kv/key").expect(200).body_json()["value"], "value");
    // It is looked at every second, as that user too.
    eventually("the gateway sees the key in the engine", || {
        let seen = node.get("/status").expect(200).body_json()["engine"]["servers"][0].clone();
        seen["keys"] == 1 && seen["error"].is_null()
    });

    // What is wrong is said, and no secret with it.
    let without_client: Vec<String> = all(&good)
        .into_iter()
        .filter(|arg| !arg.contains("client"))
        .collect();
    let without_ca: Vec<String> = all(&good)
        .into_iter()
        .filter(|arg| *arg != "--tls-ca" && *arg != ca.file())
        .collect();
    for (args, said) in [
        (all(&bad), "it refuses this user and password"),
        (without_client, ""),
        (without_ca, "certificate"),
    ] {
        let node = start(&args);
        let problem = node.get("/readyz").expect(503);
        let told = String::from_utf8_lossy(&problem.body).into_owned();
        assert!(told.contains(said), "{args:?}: {told}");
        assert!(!told.contains("sesame") && !told.contains("horse"), "{told}");
        node.get("/kv/key").expect(503);
    }

    // The same from the environment; where both are given, the file wins.
    let variables = ["PYKV_ENGINE_USER=gate", "PYKV_ENGINE_PASSWORD=open sesame"];
    let wrapper = [&["env"][..], &variables].concat();
    let without_file: Vec<String> = all(&good)
        .into_iter()
        .take_while(|arg| arg != "--engine-auth-file")
        .collect();
    for (args, status) in [(without_file, 200), (all(&bad), 503)] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let node = crate::common::node::Setup::new(&args).wrapper(&wrapper).start();
        assert_eq!(node.get("/readyz").status, status, "{args:?}");
    }
    // A URL with a password is refused: every user of the machine reads command lines.
    let refused = pykv(&[
        "serve",
        "--engine",
        &format!("rediss://gate:sesame@localhost:{port}"),
    ])
    .expect(2);
    assert!(!refused.stderr.contains("sesame"));
}

/// Redis without TLS takes the handshake for a command whose line does not end, and says nothing.
#[test]
fn an_engine_that_speaks_no_tls_is_named() {
    if is_skipped("an_engine_that_speaks_no_tls_is_named") {
        return;
    }
    let redis = Redis::start();
    let url = redis.url().replace("redis://", "rediss://");
    let node = Server::start(&["--engine", &url, "--engine-timeout", "300ms"]);
    let problem = node.get("/readyz").expect(503);
    let told = String::from_utf8_lossy(&problem.body).into_owned();
    assert!(told.contains("perhaps it speaks no TLS"), "{told}");
}
