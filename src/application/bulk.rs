//! The same work on many entries: in batches, by several workers, until it is stopped, with a result for each entry.

use std::num::NonZeroUsize;

use futures_util::{Stream, StreamExt, stream};

/// How many entries are worked on at a time.
#[derive(Debug, Clone, Copy)]
pub struct Bulk {
    /// Maximum number of entries that a worker takes at once.
    pub batch: NonZeroUsize,
    /// Maximum number of batches at a time.
    pub workers: NonZeroUsize,
}

impl Bulk {
    /// Calls `work` with batches of `entries`. The results come in the order of the entries, one for each.
    ///
    /// When `stop` is done, no further batch is begun, and those that are running are finished: an entry without a result was not
    /// touched. Dropping the stream drops running batches in the middle.
    pub fn run<T, R, W, F>(
        self,
        entries: Vec<T>,
        stop: impl Future<Output = ()>,
        work: W,
    ) -> impl Stream<Item = R>
    where
        W: FnMut(Vec<T>) -> F,
        F: Future<Output = Vec<R>>,
    {
        let batches = stream::iter(entries).chunks(self.batch.get()).take_until(stop);
        batches.map(work).buffered(self.workers.get()).flat_map(stream::iter)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::pending;

    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    fn bulk(batch: usize, workers: usize) -> Bulk {
        Bulk {
            batch: NonZeroUsize::new(batch).unwrap(),
            workers: NonZeroUsize::new(workers).unwrap(),
        }
    }

    #[tokio::test]
    async fn every_entry_has_a_result_in_the_order_of_the_entries() {
        let batches = RefCell::new(Vec::new());
        let work = |batch: Vec<u32>| {
            batches.borrow_mut().push(batch.len());
            async move {
                // The first batch is the last one to be finished.
                for _ in 0..10 - batch[0] {
                    yield_now().await;
                }
                batch.into_iter().map(|entry| entry * 2).collect()
            }
        };

        let results: Vec<u32> = bulk(3, 4).run((0..10).collect(), pending(), work).collect().await;

        assert_eq!(results, (0..10).map(|entry| entry * 2).collect::<Vec<_>>());
        assert_eq!(*batches.borrow(), [3, 3, 3, 1]);
    }

    #[tokio::test]
    async fn no_more_batches_than_workers_run_at_a_time() {
        let (running, most) = (Cell::new(0), Cell::new(0));
        let work = |batch: Vec<u32>| {
            running.set(running.get() + 1);
            most.set(most.get().max(running.get()));
            let running = &running;
            async move {
                yield_now().await;
                running.set(running.get() - 1);
                batch
            }
        };

        let results: Vec<u32> = bulk(1, 3).run((0..20).collect(), pending(), work).collect().await;

        assert_eq!((results.len(), most.get()), (20, 3));
    }

    #[tokio::test]
    async fn what_is_running_at_the_stop_is_finished_and_nothing_more_is_begun() {
        let (stop, stopped) = oneshot::channel::<()>();
        let stop = RefCell::new(Some(stop));
        let begun = Cell::new(0);
        let work = |batch: Vec<u32>| {
            begun.set(begun.get() + batch.len());
            if batch.contains(&3) {
                stop.borrow_mut().take();
            }
            async move {
                yield_now().await;
                batch
            }
        };

        let stopped = async { drop(stopped.await) };
        let results: Vec<u32> = bulk(2, 1).run((0..20).collect(), stopped, work).collect().await;

        assert_eq!(results, [0, 1, 2, 3]);
        assert_eq!(begun.get(), 4);
    }
}
