// A planned arena for ONNX Runtime's CPU allocator: every tensor of a run at the offset that was
// computed for it, in one block whose height is the liveness peak (or as close as packing gets).
//
//     record:  a run on the heap notes size, birth and death of every allocation
//     plan:    Python packs those lifetimes (lowtide.solvers.allocation) -> offsets, height
//     replay:  allocation k of a later run is base + offset[k], if its size is the k-th of the plan
//              and none of these bytes is in use
//
// A session asks its allocator for the same sizes in the same sequence on every run, as long as it
// runs the same graph on the same shapes on one thread of control. Whatever does not follow the
// plan (another size, a block whose place is taken by one that lives longer than planned, as
// another branch of an If may have it, an allocation outside any run) goes to the heap, so that a
// stale plan costs memory, never correctness. While a block of the arena is still held after its
// run, no further run uses the arena. Recorded runs map large blocks one by one and give them back
// at once: their footprint is the liveness peak too, only slower.
//
// ONNX Runtime hands its C API to a custom-op library; that is the door: RegisterCustomOps adds no
// op, it registers the allocator with the environment. Runs are serialised by the Python side.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

// The part of ONNX Runtime's C API (stable, append-only; checked against version 1.31) that is
// used.
constexpr std::size_t kGetErrorMessage = 2;
constexpr std::size_t kCreateEnv = 3;
constexpr std::size_t kCreateCpuMemoryInfo = 69;
constexpr std::size_t kReleaseStatus = 93;
constexpr std::size_t kRegisterAllocator = 176;
constexpr std::uint32_t kApiVersion = 17;  // an OrtAllocator of this version ends after Info
constexpr int kDeviceAllocator = 0;
constexpr int kMemTypeDefault = 0;
constexpr int kLogWarning = 2;
constexpr std::size_t kAlignment = 64;
constexpr std::size_t kMapFrom = std::size_t{1} << 16;

struct OrtApiBase {
  const void* const* (*get_api)(std::uint32_t version);
  const char* (*get_version)();
};

struct OrtAllocator {
  std::uint32_t version;
  void* (*alloc)(OrtAllocator*, std::size_t);
  void (*free)(OrtAllocator*, void*);
  const void* (*info)(const OrtAllocator*);
};

struct Event {
  std::uint64_t size;
  std::uint64_t born;
  std::uint64_t died;  // 0 while alive; a block that outlives the run keeps 0
};

struct Plan {
  std::vector<std::uint64_t> sizes;
  std::vector<std::int64_t> offsets;  // negative: on the heap
};

enum class Mode { kIdle, kRecord, kReplay };

class Arena : public OrtAllocator {
 public:
  static Arena& get() {
    static Arena* arena = new Arena;  // never destroyed: ONNX Runtime may free at exit
    return *arena;
  }

  const char* attach(const OrtApiBase* base) {
    const std::lock_guard lock(mutex_);
    if (attached_) return nullptr;
    // The table of functions is append-only, but what is behind them was tried with this release.
    if (std::strncmp(base->get_version(), "1.31.", 5) != 0) {
      return "the planned arena was made for ONNX Runtime 1.31: tensors stay on the heap";
    }
    const void* const* api = base->get_api(kApiVersion);
    if (api == nullptr) return "ONNX Runtime does not offer version 17 of its C API";
    const auto failed = [&](void* status) -> bool {
      if (status == nullptr) return false;
      using Message = const char* (*)(const void*);
      using Release = void (*)(void*);
      message_ = reinterpret_cast<Message>(const_cast<void*>(api[kGetErrorMessage]))(status);
      reinterpret_cast<Release>(const_cast<void*>(api[kReleaseStatus]))(status);
      return true;
    };
    using CreateEnv = void* (*)(int, const char*, void**);
    using CreateInfo = void* (*)(int, int, void**);
    using Register = void* (*)(void*, OrtAllocator*);
    void* env = nullptr;
    void* info = nullptr;
    if (failed(reinterpret_cast<CreateEnv>(const_cast<void*>(api[kCreateEnv]))(kLogWarning,
                                                                               "lowtide", &env)) ||
        failed(reinterpret_cast<CreateInfo>(const_cast<void*>(api[kCreateCpuMemoryInfo]))(
            kDeviceAllocator, kMemTypeDefault, &info))) {
      return message_.c_str();
    }
    info_ = info;
    if (failed(reinterpret_cast<Register>(const_cast<void*>(api[kRegisterAllocator]))(env, this))) {
      return message_.c_str();
    }
    attached_ = true;
    return nullptr;
  }

  bool attached() {
    const std::lock_guard lock(mutex_);
    return attached_;
  }

  void begin_record() {
    const std::lock_guard lock(mutex_);
    mode_ = Mode::kRecord;
    events_.clear();
    live_.clear();
    clock_ = 0;
  }

  // False when a block of an earlier run still lives in the arena: this run then uses the heap.
  bool begin_replay(const Plan* plan) {
    const std::lock_guard lock(mutex_);
    if (!lent_.empty()) return false;
    mode_ = Mode::kReplay;
    plan_ = plan;
    next_ = 0;
    missed_ = 0;
    return true;
  }

  // Ends the run; returns how many allocations did not follow the plan.
  std::uint64_t end() {
    const std::lock_guard lock(mutex_);
    if (mode_ == Mode::kReplay && next_ != plan_->sizes.size()) ++missed_;
    mode_ = Mode::kIdle;
    plan_ = nullptr;
    live_.clear();
    return missed_;
  }

  std::uint64_t recorded(Event* out, std::uint64_t capacity) {
    const std::lock_guard lock(mutex_);
    for (std::uint64_t i = 0; i < events_.size() && i < capacity; ++i) out[i] = events_[i];
    return events_.size();
  }

  // Makes room for `height` bytes, between runs only. False when out of memory or still lent.
  bool reserve(std::uint64_t height) {
    const std::lock_guard lock(mutex_);
    if (height <= height_) return true;
    if (!lent_.empty()) return false;
    void* block = mmap(nullptr, height, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return false;
    if (base_ != nullptr) munmap(base_, height_);
    base_ = static_cast<std::byte*>(block);
    height_ = height;
    return true;
  }

 private:
  Arena() : OrtAllocator{kApiVersion, &Arena::allocate, &Arena::release, &Arena::describe} {}

  // Whether [begin, begin + size) of the arena was free; it is lent from now on.
  bool lend(std::uint64_t begin, std::uint64_t size) {
    if (size > height_ || begin > height_ - size) return false;
    const auto next = lent_.lower_bound(begin);
    if (next != lent_.end() && next->first < begin + size) return false;
    if (next != lent_.begin() && std::prev(next)->second > begin) return false;
    lent_.emplace_hint(next, begin, begin + size);
    return true;
  }

  static void* heap(std::size_t size) {
    void* block = nullptr;
    return posix_memalign(&block, kAlignment, size) == 0 ? block : nullptr;
  }

  void* map(std::size_t size) {
    void* block = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return nullptr;
    mapped_[block] = size;
    return block;
  }

  static void* allocate(OrtAllocator* self, std::size_t size) {
    return size == 0 ? nullptr : static_cast<Arena*>(self)->allocate(size);
  }
  static void release(OrtAllocator* self, void* block) {
    if (block != nullptr) static_cast<Arena*>(self)->release(block);
  }
  static const void* describe(const OrtAllocator* self) {
    return static_cast<const Arena*>(self)->info_;
  }

  void* allocate(std::size_t size) {
    const std::lock_guard lock(mutex_);
    if (mode_ == Mode::kReplay) {
      const std::size_t k = next_++;
      if (k < plan_->sizes.size() && plan_->sizes[k] == size) {
        if (plan_->offsets[k] >= 0) {
          if (lend(static_cast<std::uint64_t>(plan_->offsets[k]), size)) {
            return base_ + plan_->offsets[k];
          }
          ++missed_;
        }
      } else {
        ++missed_;
        next_ = plan_->sizes.size() + 1;  // what follows is not the recorded sequence any more
      }
    }
    const bool large = mode_ == Mode::kRecord && size >= kMapFrom;
    void* block = large ? map(size) : heap(size);
    if (mode_ == Mode::kRecord && block != nullptr) {
      live_[block] = events_.size();
      events_.push_back({size, ++clock_, 0});
    }
    return block;
  }

  void release(void* block) {
    const std::lock_guard lock(mutex_);
    auto* at = static_cast<std::byte*>(block);
    if (base_ != nullptr && at >= base_ && at < base_ + height_) {
      lent_.erase(static_cast<std::uint64_t>(at - base_));
      return;
    }
    if (mode_ == Mode::kRecord) {
      if (const auto found = live_.find(block); found != live_.end()) {
        events_[found->second].died = ++clock_;
        live_.erase(found);
      }
    }
    if (const auto found = mapped_.find(block); found != mapped_.end()) {
      munmap(block, found->second);
      mapped_.erase(found);
    } else {
      std::free(block);
    }
  }

  std::mutex mutex_;
  bool attached_ = false;
  std::string message_;
  const void* info_ = nullptr;
  Mode mode_ = Mode::kIdle;
  std::vector<Event> events_;
  std::unordered_map<void*, std::size_t> live_;    // block -> its event, while recording
  std::unordered_map<void*, std::size_t> mapped_;  // block -> its size
  std::uint64_t clock_ = 0;
  const Plan* plan_ = nullptr;
  std::size_t next_ = 0;
  std::uint64_t missed_ = 0;
  std::map<std::uint64_t, std::uint64_t> lent_;  // offset -> end of every block that is in use
  std::byte* base_ = nullptr;
  std::uint64_t height_ = 0;
};

const char* g_attach_error = nullptr;

}  // namespace

extern "C" {

// Called by ONNX Runtime (SessionOptions.register_custom_ops_library). A null status is success.
__attribute__((visibility("default"))) void* RegisterCustomOps(void* /*options*/,
                                                               const OrtApiBase* base) {
  g_attach_error = Arena::get().attach(base);
  return nullptr;
}

__attribute__((visibility("default"))) const char* lowtide_arena_error() { return g_attach_error; }
__attribute__((visibility("default"))) int lowtide_arena_attached() {
  return Arena::get().attached() ? 1 : 0;
}
__attribute__((visibility("default"))) void lowtide_arena_record() { Arena::get().begin_record(); }
__attribute__((visibility("default"))) std::uint64_t lowtide_arena_end() {
  return Arena::get().end();
}
__attribute__((visibility("default"))) std::uint64_t lowtide_arena_events(Event* out,
                                                                          std::uint64_t capacity) {
  return Arena::get().recorded(out, capacity);
}
__attribute__((visibility("default"))) Plan* lowtide_arena_plan(const std::uint64_t* sizes,
                                                                const std::int64_t* offsets,
                                                                std::uint64_t count) {
  auto* plan = new Plan;
  plan->sizes.assign(sizes, sizes + count);
  plan->offsets.assign(offsets, offsets + count);
  return plan;
}
__attribute__((visibility("default"))) void lowtide_arena_forget(Plan* plan) { delete plan; }
__attribute__((visibility("default"))) int lowtide_arena_reserve(std::uint64_t height) {
  return Arena::get().reserve(height) ? 1 : 0;
}
__attribute__((visibility("default"))) int lowtide_arena_replay(const Plan* plan) {
  return Arena::get().begin_replay(plan) ? 1 : 0;
}

}  // extern "C"
