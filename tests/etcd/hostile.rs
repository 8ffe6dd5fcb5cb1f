//! Keys in etcd that another hand has changed.

use crate::common::eventually;
use crate::election::Cluster;

#[test]
fn what_another_hand_writes_or_removes_is_put_right_by_the_primary() {
    let name = "what_another_hand_writes_or_removes_is_put_right_by_the_primary";
    let Some(cluster) = Cluster::start(name, 2, &["--sync-replicas", "1"]) else {
        return;
    };
    cluster.has_standbys(1);
    cluster.is_known();
    let etcd = &cluster.etcd;
    etcd.ctl(0, &["put", "/pykv/shop/members/h:1", "garbage"]);
    for key in ["/pykv/shop/sync", "/pykv/shop/failsafe"] {
        let before = etcd.ctl(0, &["get", "--print-value-only", key]);
        let other = r#"{"leader":"h:1","standbys":[],"nodes":[]}"#;
        for change in [&["del", key][..], &["put", key, "garbage"], &["put", key, other]] {
            etcd.ctl(0, change);
            // The stray member joins the one list, and changes nothing in the other.
            eventually(&format!("{change:?} is put right"), || {
                let now = etcd.ctl(0, &["get", "--print-value-only", key]);
                match key.ends_with("sync") {
                    true => now == before,
                    false => String::from_utf8_lossy(&now).contains("h:1") && now.len() > 20,
                }
            });
        }
    }
    // That key of a stranger keeps nobody from taking over.
    cluster.has_standbys(1);
    cluster.set("k", "1");
}
