//! Every service loads the configuration again by itself.

use crate::rig::{Rig, SOON};
use testkit::clock::poll;
use testkit::{Gateway, http};

#[test]
fn a14_a_number_that_is_added_is_called_in_a_cluster() {
    let mut rig = Rig::with("", 1);
    let file = rig.cluster.config().to_owned();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[[alias]]\nnumber = \"2799\"\njid = \"rosa@example.net\"\n"))
        .unwrap();
    rig.cluster.instances().iter_mut().for_each(|instance| instance.program().reload());
    for instance in rig.cluster.instances() {
        let applied = poll(SOON, || {
            let page = http::get(instance.admin, "/metrics").ok()?.1;
            page.contains("tandem_config_reloads_total{outcome=\"applied\"} 1\n").then_some(())
        });
        assert!(applied.is_some(), "{:#}", instance.program().failure("loads nothing again"));
        instance.program().expect(0, "is in force: alias", SOON).unwrap();
    }
    rig.desk.dial(&Gateway::uri_of("2799")).unwrap();
    rig.see("ringing at rosa", |rig| rig.rosa.expect("propose", SOON).map(drop));
    rig.rosa.accept().unwrap();
    rig.see("established at the desk", |rig| rig.desk.expect("CALL_ESTABLISHED", SOON).map(drop));
    rig.sound();
}
