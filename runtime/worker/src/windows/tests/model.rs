//! Windows of event time as one would write them down first: per key and window the values, whatever that costs.

use std::collections::BTreeMap;

use super::*;

pub(super) struct Model {
    size: i64,
    slide: i64,
    offset: i64,
    lateness: i64,
    watermark: i64,
    windows: BTreeMap<(TimeWindow, u8), Vec<u32>>,
    pub(super) emitted: Vec<(Result, Timestamp)>,
    pub(super) late: Vec<(Item, Timestamp)>,
}

impl Model {
    pub(super) fn new(size: i64, slide: i64, offset: i64, lateness: i64) -> Self {
        Self {
            size,
            slide,
            offset,
            lateness,
            watermark: Timestamp::MIN,
            windows: BTreeMap::new(),
            emitted: Vec::new(),
            late: Vec::new(),
        }
    }

    fn fire(&mut self, window: TimeWindow, key: u8) {
        let mut values = self.windows[&(window, key)].clone();
        values.sort_unstable();
        self.emitted.push(((key, window, values), window.end - 1));
    }

    pub(super) fn process(&mut self, item: Item, timestamp: i64) {
        let first = (timestamp - self.size - self.offset) / self.slide - 2;
        let mut taken = false;
        for n in first..first + self.size / self.slide + 5 {
            let start = n * self.slide + self.offset;
            let window = TimeWindow::new(start, start + self.size);
            if timestamp < start || timestamp >= window.end || window.end - 1 + self.lateness <= self.watermark {
                continue;
            }
            taken = true;
            self.windows.entry((window, item.0)).or_default().push(item.1);
            if window.end - 1 <= self.watermark {
                self.fire(window, item.0);
            }
        }
        if !taken && timestamp + self.lateness <= self.watermark {
            self.late.push((item, timestamp));
        }
    }

    pub(super) fn watermark(&mut self, watermark: i64) {
        let due: Vec<_> = self
            .windows
            .keys()
            .copied()
            .filter(|(window, _)| window.end > self.watermark.saturating_add(1) && window.end - 1 <= watermark)
            .collect();
        due.into_iter().for_each(|(window, key)| self.fire(window, key));
        self.watermark = watermark;
        let lateness = self.lateness;
        self.windows
            .retain(|(window, _), _| window.end - 1 + lateness > watermark);
    }
}
