//! Where the RAM of a clone is, what it resumes from, and how it is kept.

use std::path::PathBuf;

use crate::hypervisor::{Frozen, Liveness, MappedMemory, Ram};
use crate::tree::clone::ram_policy::RamPolicy;

/// RAM from which a guest can resume.
#[derive(Clone)]
pub enum UsableRam {
    Mapped(MappedMemory),
    Saved(PathBuf),
}

/// What happens to the RAM of a clone; no file is made yet.
#[derive(Debug, PartialEq, Eq)]
pub struct RamPlan {
    pub place: RamPlace,
    /// The state that its guest resumes from; without it the guest boots.
    pub from: Option<Frozen>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum RamPlace {
    /// In a new file, in which it is also kept. If it is a copy of another one, the guest resumes from that.
    NewFile { copy_of: Option<PathBuf> },
    /// In no new file; how it is kept is decided when the clone is frozen.
    NoFile(Ram, RamPolicy),
}

impl RamPlan {
    /// Plans the RAM of a clone that resumes from `origin`, or boots. Only a clone that `keeps_states` is frozen; it
    /// keeps its RAM if it is `live`, by default if the host can.
    pub fn of(origin: Option<UsableRam>, liveness: &Liveness, keeps_states: bool, live: Option<bool>) -> Self {
        let can_keep = !matches!(liveness, Liveness::No(_));
        let is_kept = keeps_states && can_keep && live != Some(false);
        // A fork that is kept after all writes its RAM to a file then.
        let unfrozen = if keeps_states { RamPolicy::Disks } else { RamPolicy::Whole };
        let saved = if is_kept || !keeps_states && can_keep { RamPolicy::Saved } else { RamPolicy::Disks };
        let (place, from) = match origin {
            Some(UsableRam::Mapped(MappedMemory { ram, devices })) => {
                let place = if is_kept {
                    RamPlace::NewFile { copy_of: Some(ram) }
                } else {
                    RamPlace::NoFile(Ram::Private(ram), unfrozen)
                };
                (place, Some(Frozen::Devices(devices)))
            }
            Some(UsableRam::Saved(image)) => (RamPlace::NoFile(Ram::Default, saved), Some(Frozen::Saved(image))),
            None if matches!(liveness, Liveness::Mapped) => {
                let anonymous = || RamPlace::NoFile(Ram::Anonymous, unfrozen);
                (if is_kept { RamPlace::NewFile { copy_of: None } } else { anonymous() }, None)
            }
            None => (RamPlace::NoFile(Ram::Default, saved), None),
        };
        Self { place, from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(plan: &RamPlan) -> String {
        let from = match &plan.from {
            Some(Frozen::Devices(_)) => "resumes",
            Some(Frozen::Saved(_)) => "restored",
            Some(Frozen::Whole(_)) => unreachable!(),
            None => "boots",
        };
        let place = match &plan.place {
            RamPlace::NewFile { copy_of: Some(_) } => "copy".to_string(),
            RamPlace::NewFile { copy_of: None } => "file".to_string(),
            RamPlace::NoFile(ram, keeps) => {
                let ram = match ram {
                    Ram::Default => "default",
                    Ram::Anonymous => "anonymous",
                    Ram::Private(_) => "private",
                    Ram::Shared(_) => unreachable!(),
                };
                format!("{ram} {keeps:?}").to_lowercase()
            }
        };
        format!("{from} {place}")
    }

    #[test]
    fn every_origin_host_and_purpose_has_its_plan() {
        let mapped = UsableRam::Mapped(MappedMemory { ram: "/ram".into(), devices: "/devices".into() });
        let origins = [("boot", None), ("mapped", Some(mapped)), ("saved", Some(UsableRam::Saved("/image".into())))];
        let hosts = [
            ("maps", Liveness::Mapped),
            ("saves", Liveness::Saved(String::new())),
            ("none", Liveness::No(String::new())),
        ];
        let purposes = [("build", true), ("fork", false)];
        let mut lines = Vec::new();
        for (origin, usable) in &origins {
            for (host, liveness) in &hosts {
                for (purpose, keeps_states) in purposes {
                    let plans = [None, Some(true), Some(false)]
                        .map(|live| said(&RamPlan::of(usable.clone(), liveness, keeps_states, live)));
                    lines.push(format!("{origin}, host {host}, {purpose}: {}", plans.join(" | ")));
                }
            }
        }
        // By default | with `live` | without `live`.
        let expected = [
            "boot, host maps, build: boots file | boots file | boots anonymous disks",
            "boot, host maps, fork: boots anonymous whole | boots anonymous whole | boots anonymous whole",
            "boot, host saves, build: boots default saved | boots default saved | boots default disks",
            "boot, host saves, fork: boots default saved | boots default saved | boots default saved",
            "boot, host none, build: boots default disks | boots default disks | boots default disks",
            "boot, host none, fork: boots default disks | boots default disks | boots default disks",
            "mapped, host maps, build: resumes copy | resumes copy | resumes private disks",
            "mapped, host maps, fork: resumes private whole | resumes private whole | resumes private whole",
            "mapped, host saves, build: resumes copy | resumes copy | resumes private disks",
            "mapped, host saves, fork: resumes private whole | resumes private whole | resumes private whole",
            "mapped, host none, build: resumes private disks | resumes private disks | resumes private disks",
            "mapped, host none, fork: resumes private whole | resumes private whole | resumes private whole",
            "saved, host maps, build: restored default saved | restored default saved | restored default disks",
            "saved, host maps, fork: restored default saved | restored default saved | restored default saved",
            "saved, host saves, build: restored default saved | restored default saved | restored default disks",
            "saved, host saves, fork: restored default saved | restored default saved | restored default saved",
            "saved, host none, build: restored default disks | restored default disks | restored default disks",
            "saved, host none, fork: restored default disks | restored default disks | restored default disks",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_plan_names_the_files_of_its_origin() {
        let origin = || Some(UsableRam::Mapped(MappedMemory { ram: "/ram".into(), devices: "/devices".into() }));
        let plan = |keeps_states| RamPlan::of(origin(), &Liveness::Mapped, keeps_states, None);
        let from = || Some(Frozen::Devices("/devices".into()));
        let copied = RamPlace::NewFile { copy_of: Some("/ram".into()) };
        assert_eq!(plan(true), RamPlan { place: copied, from: from() });
        let private = RamPlace::NoFile(Ram::Private("/ram".into()), RamPolicy::Whole);
        assert_eq!(plan(false), RamPlan { place: private, from: from() });
        let saved = RamPlan::of(Some(UsableRam::Saved("/image".into())), &Liveness::Mapped, false, None);
        assert_eq!(saved.from, Some(Frozen::Saved("/image".into())));
    }
}
