//! The watch: what happens in the directory arrives by itself.

use super::*;

/// Long enough for a busy machine, far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(10);

async fn next(watch: &mut ManifestWatch) -> Batch {
    let batch = tokio::time::timeout(PATIENCE, watch.next()).await;
    batch.expect("nothing happened").expect("the thread is gone")
}

/// The next batch with events.
async fn next_events(watch: &mut ManifestWatch) -> Vec<String> {
    loop {
        let batch = next(watch).await;
        if !batch.events.is_empty() {
            return short(&batch);
        }
    }
}

fn watch(directory: &Path) -> ManifestWatch {
    ManifestSource::open(directory).unwrap().watch().unwrap()
}

#[tokio::test]
async fn the_first_batch_comes_even_if_there_is_nothing() {
    let directory = directory(&[]);
    assert_eq!(next(&mut watch(directory.path())).await, Batch::default());
}

#[tokio::test]
async fn a_change_arrives_at_once() {
    let directory = directory(&[("a.yaml", &namespace("a"))]);
    let mut watch = watch(directory.path());
    assert_eq!(next_events(&mut watch).await, ["+Namespace a"]);
    let mut latencies = Vec::new();
    for round in 0..20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let start = Instant::now();
        replace(directory.path(), "a.yaml", &namespace(&format!("a{round}")));
        let events = next_events(&mut watch).await;
        latencies.push(start.elapsed());
        assert_eq!(events.len(), 2, "{events:?}");
    }
    latencies.sort();
    eprintln!("median {:?}, longest {:?}", latencies[10], latencies[19]);
    assert!(latencies[10] < Duration::from_millis(15), "{latencies:?}");
}

#[tokio::test]
async fn files_that_are_written_in_place_removed_and_relinked() {
    let directory = directory(&[]);
    let at = |name: &str| directory.path().join(name);
    let mut watch = watch(directory.path());
    let _ = next(&mut watch).await;
    fs::write(at("a.yaml"), namespace("a")).unwrap();
    assert_eq!(next_events(&mut watch).await, ["+Namespace a"]);
    fs::write(at("a.yaml"), namespace("b")).unwrap();
    assert_eq!(next_events(&mut watch).await, ["-Namespace a", "+Namespace b"]);
    fs::remove_file(at("a.yaml")).unwrap();
    assert_eq!(next_events(&mut watch).await, ["-Namespace b"]);

    for (version, name) in [("..1", "c"), ("..2", "d")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("web.yaml"), namespace(name)).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/web.yaml", at("web.yaml")).unwrap();
    assert_eq!(next_events(&mut watch).await, ["+Namespace c"]);
    symlink("..2", at("..data_tmp")).unwrap();
    let start = Instant::now();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!(next_events(&mut watch).await, ["-Namespace c", "+Namespace d"]);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "noticed by the rescan only"
    );
}

#[tokio::test]
async fn a_file_that_is_being_written_is_left_alone() {
    let directory = directory(&[("a.yaml", &(namespace("a") + &namespace("b")))]);
    let mut watch = watch(directory.path());
    assert_eq!(next_events(&mut watch).await.len(), 2);

    // Empty for a while, then half of it, then all: as a slow command writes its output.
    let mut file = fs::File::create(directory.path().join("a.yaml")).unwrap();
    file.write_all(namespace("b").as_bytes()).unwrap();
    // Something else happens meanwhile, and is seen.
    fs::write(directory.path().join("b.yaml"), namespace("c")).unwrap();
    assert_eq!(next_events(&mut watch).await, ["+Namespace c"]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    file.write_all(namespace("d").as_bytes()).unwrap();
    drop(file);
    assert_eq!(next_events(&mut watch).await, ["-Namespace a", "+Namespace d"]);
}

#[tokio::test]
async fn mistakes_arrive_and_go() {
    let directory = directory(&[("a.yaml", &namespace("a"))]);
    let mut watch = watch(directory.path());
    let _ = next(&mut watch).await;
    replace(directory.path(), "a.yaml", "a: [");
    assert_eq!(next(&mut watch).await.problems.len(), 1);
    replace(directory.path(), "a.yaml", &namespace("a"));
    assert_eq!(next(&mut watch).await, Batch::default());
}

#[tokio::test]
async fn a_directory_that_vanishes_is_watched_again_when_it_is_back() {
    let directory = directory(&[("a.yaml", &namespace("a"))]);
    let mut watch = watch(directory.path());
    let _ = next(&mut watch).await;
    let aside = directory.path().with_extension("aside");
    fs::rename(directory.path(), &aside).unwrap();
    let batch = next(&mut watch).await;
    assert_eq!((short(&batch), batch.problems.len()), (vec![], 1));
    fs::rename(&aside, directory.path()).unwrap();
    assert_eq!(next(&mut watch).await, Batch::default());
    replace(directory.path(), "a.yaml", &namespace("b"));
    assert_eq!(next_events(&mut watch).await, ["-Namespace a", "+Namespace b"]);
}

#[test]
fn a_watch_that_is_dropped_ends_its_thread() {
    let threads = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim() == "drop-me").count()
    };
    let directory = directory(&[]);
    let source = ManifestSource::open(directory.path()).unwrap();
    let watch = source.watch_as("drop-me").unwrap();
    let start = Instant::now();
    while threads() == 0 {
        assert!(start.elapsed() < PATIENCE);
    }
    drop(watch);
    while threads() > 0 {
        assert!(start.elapsed() < PATIENCE);
    }
}
