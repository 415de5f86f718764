// When to stop: a deadline, a work limit, and a hook that is called about every 50 ms.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>

namespace lowtide {

class Control {
 public:
  using Clock = std::chrono::steady_clock;

  // Negative time_limit_s and zero work_limit mean none.  The hook returns true to stop.
  Control(double time_limit_s, std::uint64_t work_limit, std::function<bool()> hook)
      : start_(Clock::now()),
        next_hook_(start_),
        has_deadline_(time_limit_s >= 0),
        work_limit_(work_limit),
        hook_(std::move(hook)) {
    // A century is beyond every deadline and within the clock's range.
    const double seconds = time_limit_s < 3.0e9 ? time_limit_s : 3.0e9;
    if (has_deadline_) {
      deadline_ = start_ + std::chrono::duration_cast<Clock::duration>(
                               std::chrono::duration<double>(seconds));
    }
  }

  // Counts work (about one node looked at); true when the solve must end.
  bool spend(std::uint64_t work) {
    if (stopped_) return true;
    work_ += work;
    since_ += work;
    if (work_limit_ != 0 && work_ >= work_limit_) return stopped_ = true;
    if (since_ < 4096) return false;
    since_ = 0;
    const Clock::time_point now = Clock::now();
    if (has_deadline_ && now >= deadline_) return stopped_ = true;
    if (hook_ && now >= next_hook_) {
      next_hook_ = now + std::chrono::milliseconds(50);
      if (hook_()) return stopped_ = true;
    }
    return false;
  }

  bool stopped() const { return stopped_; }
  std::uint64_t work() const { return work_; }

 private:
  Clock::time_point start_, deadline_, next_hook_;
  bool has_deadline_;
  std::uint64_t work_limit_;
  std::function<bool()> hook_;
  std::uint64_t work_ = 0;
  std::uint64_t since_ = 1 << 20;  // look at the clock the first time
  bool stopped_ = false;
};

}  // namespace lowtide
