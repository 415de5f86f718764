// The allocation meter: a preload library (LD_PRELOAD) that counts what a
// process holds.
//
//   program --malloc/free--> meter --dlsym(RTLD_NEXT)--> the C library's
//   allocator
//                              |
//                              +-- `all`:     every block, in usable bytes
//                              (malloc_usable_size)
//                              +-- `aligned`: blocks asked for with an
//                              alignment of 32 or more, in
//                                             requested bytes: ONNX Runtime's
//                                             CPU allocator takes tensors and
//                                             scratch in no other way
//
// Requested sizes need a memory: aligned blocks are kept in a fixed table,
// which free() consults only for addresses that are multiples of 32. Nothing
// here allocates; dlsym() may do so before the real allocator is known, and is
// then served from a small static buffer that is never given back.
//
// Not counted: memory that a program maps for itself (mmap), thread stacks, the
// allocator's own slack.

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

enum Kind { kAll = 0, kAligned = 1, kKinds = 2 };

struct Counter {
  std::atomic<int64_t> live{0};
  std::atomic<int64_t> peak{0};
  std::atomic<int64_t> count{0};

  void add(int64_t bytes) {
    const int64_t now = live.fetch_add(bytes) + bytes;
    count.fetch_add(1, std::memory_order_relaxed);
    raise(now);
  }
  void sub(int64_t bytes) { live.fetch_sub(bytes); }
  void raise(int64_t level) {
    int64_t seen = peak.load();
    while (level > seen && !peak.compare_exchange_weak(seen, level)) {
    }
  }
};

Counter counters[kKinds];

// One allocation (bytes > 0) or release (bytes < 0): requested bytes of an aligned block, usable
// bytes of any other.
struct Event {
  int64_t address;
  int64_t bytes;
  Kind kind;
};

constexpr int64_t kEvents = 1 << 16;
Event events[kEvents];
std::atomic<int64_t> event_count{0};
std::atomic<int> logging{0};  // 0 nothing, 1 aligned blocks, 2 all blocks

void log_event(const void* block, int64_t bytes, Kind kind) {
  if (logging.load(std::memory_order_relaxed) < (kind == kAligned ? 1 : 2)) return;
  const int64_t slot = event_count.fetch_add(1);
  if (slot >= kEvents) return;
  events[slot] = {static_cast<int64_t>(reinterpret_cast<uintptr_t>(block)), bytes, kind};
}

// Aligned blocks that are live: address -> requested bytes. Open addressing
// with linear probing and backward-shift deletion, under a spin lock that
// fork() takes too.
class Table {
 public:
  static constexpr size_t kSlots = size_t{1} << 17;

  bool insert(uintptr_t address, int64_t bytes) {
    lock();
    bool room = used_ < kSlots / 2;
    if (room) {
      size_t slot = home(address);
      while (slots_[slot].address != 0) slot = next(slot);
      slots_[slot] = {address, bytes};
      ++used_;
    }
    unlock();
    return room;
  }

  // The requested bytes of the block, -1 when it is not here.
  int64_t remove(uintptr_t address) {
    lock();
    size_t slot = home(address);
    while (slots_[slot].address != 0 && slots_[slot].address != address) slot = next(slot);
    int64_t bytes = -1;
    if (slots_[slot].address == address) {
      bytes = slots_[slot].bytes;
      --used_;
      size_t hole = slot;
      for (size_t i = next(slot); slots_[i].address != 0; i = next(i)) {
        // What sits at i may fill the hole unless its home lies cyclically in
        // (hole, i].
        const size_t from_home = (i - home(slots_[i].address)) & (kSlots - 1);
        if (from_home >= ((i - hole) & (kSlots - 1))) {
          slots_[hole] = slots_[i];
          hole = i;
        }
      }
      slots_[hole] = {0, 0};
    }
    unlock();
    return bytes;
  }

  void lock() {
    while (flag_.test_and_set(std::memory_order_acquire)) sched_yield();
  }
  void unlock() { flag_.clear(std::memory_order_release); }

 private:
  struct Slot {
    uintptr_t address;
    int64_t bytes;
  };
  static size_t home(uintptr_t address) {
    return static_cast<size_t>((static_cast<uint64_t>(address) * 0x9E3779B97F4A7C15ULL) >> 47);
  }
  static size_t next(size_t slot) { return (slot + 1) & (kSlots - 1); }

  std::atomic_flag flag_ = ATOMIC_FLAG_INIT;
  size_t used_ = 0;
  Slot slots_[kSlots] = {};
};

Table table;
std::atomic<int64_t> missed{0};  // aligned blocks that found no room in the table

// ------------------------------------------------------------------ the real
// allocator

struct Real {
  void* (*malloc)(size_t);
  void* (*calloc)(size_t, size_t);
  void* (*realloc)(void*, size_t);
  void (*free)(void*);
  void* (*aligned_alloc)(size_t, size_t);
  int (*posix_memalign)(void**, size_t, size_t);
  void* (*memalign)(size_t, size_t);
};

Real real;
std::atomic<int> ready{0};  // 0 unknown, 1 being looked up, 2 known
std::atomic<pthread_t> resolver{};

alignas(16) char bootstrap[1 << 16];
std::atomic<size_t> bootstrap_used{0};

bool is_bootstrap(const void* block) {
  const auto* at = static_cast<const char*>(block);
  return at >= bootstrap && at < bootstrap + sizeof bootstrap;
}

// Zeroed by being static. The size is kept in front of the block, for realloc.
void* bootstrap_alloc(size_t bytes) {
  const size_t need = ((bytes + 15) & ~size_t{15}) + 16;
  const size_t at = bootstrap_used.fetch_add(need);
  if (need < bytes || at + need > sizeof bootstrap) {
    errno = ENOMEM;
    return nullptr;
  }
  std::memcpy(bootstrap + at, &bytes, sizeof bytes);
  return bootstrap + at + 16;
}

template <typename Function>
void look_up(Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// False only inside the look-up itself, on the thread that does it.
bool resolve() {
  if (ready.load(std::memory_order_acquire) == 2) return true;
  int expected = 0;
  if (ready.compare_exchange_strong(expected, 1)) {
    resolver.store(pthread_self());
    look_up(real.malloc, "malloc");
    look_up(real.calloc, "calloc");
    look_up(real.realloc, "realloc");
    look_up(real.free, "free");
    look_up(real.aligned_alloc, "aligned_alloc");
    look_up(real.posix_memalign, "posix_memalign");
    look_up(real.memalign, "memalign");
    ready.store(2, std::memory_order_release);
    return true;
  }
  if (pthread_equal(resolver.load(), pthread_self())) return false;
  while (ready.load(std::memory_order_acquire) != 2) sched_yield();
  return true;
}

// ------------------------------------------------------------------ counting

constexpr size_t kAlignment = 32;  // above what plain malloc promises

void* count(void* block, size_t alignment, size_t requested) {
  if (block == nullptr) return block;
  const auto usable = static_cast<int64_t>(malloc_usable_size(block));
  counters[kAll].add(usable);
  const auto bytes = static_cast<int64_t>(requested);
  if (alignment < kAlignment) {
    log_event(block, usable, kAll);
  } else if (table.insert(reinterpret_cast<uintptr_t>(block), bytes)) {
    counters[kAligned].add(bytes);
    log_event(block, bytes, kAligned);
  } else {
    missed.fetch_add(1);
  }
  return block;
}

void* count_plain(void* block) { return count(block, 0, 0); }

// Must run before the block goes back: its address may be handed out again at once.
void uncount(void* block) {
  const auto usable = static_cast<int64_t>(malloc_usable_size(block));
  counters[kAll].sub(usable);
  const auto address = reinterpret_cast<uintptr_t>(block);
  const int64_t bytes = address % kAlignment == 0 ? table.remove(address) : -1;
  if (bytes >= 0) {
    counters[kAligned].sub(bytes);
    log_event(block, -bytes, kAligned);
  } else {
    log_event(block, -usable, kAll);
  }
}

__attribute__((constructor)) void prepare() {
  resolve();
  pthread_atfork([] { table.lock(); }, [] { table.unlock(); }, [] { table.unlock(); });
}

}  // namespace

// ------------------------------------------------------------------ the
// interposed functions

extern "C" {

void* malloc(size_t bytes) {
  if (!resolve()) return bootstrap_alloc(bytes);
  return count_plain(real.malloc(bytes));
}

void* calloc(size_t count, size_t each) {
  if (!resolve()) {
    size_t bytes = 0;
    return __builtin_mul_overflow(count, each, &bytes) ? nullptr : bootstrap_alloc(bytes);
  }
  return count_plain(real.calloc(count, each));
}

void free(void* block) {
  if (block == nullptr || is_bootstrap(block) || !resolve()) return;
  const int kept = errno;
  uncount(block);
  errno = kept;
  real.free(block);
}

void* realloc(void* block, size_t bytes) {
  if (block == nullptr) return malloc(bytes);
  if (is_bootstrap(block)) {
    void* moved = malloc(bytes);
    size_t old = 0;
    std::memcpy(&old, static_cast<char*>(block) - 16, sizeof old);
    if (moved != nullptr) std::memcpy(moved, block, old < bytes ? old : bytes);
    return moved;
  }
  if (!resolve()) return nullptr;
  // A block that grows where it is frees its old bytes and takes the new ones.
  // An aligned block becomes a plain one: realloc() keeps no alignment.
  uncount(block);
  void* moved = real.realloc(block, bytes);
  if (moved == nullptr && bytes != 0) {
    count_plain(block);  // the old block is still there
    return nullptr;
  }
  return count_plain(moved);
}

void* reallocarray(void* block, size_t count, size_t each) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(count, each, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  return realloc(block, bytes);
}

int posix_memalign(void** result, size_t alignment, size_t bytes) {
  if (!resolve() || real.posix_memalign == nullptr) return ENOMEM;
  const int status = real.posix_memalign(result, alignment, bytes);
  if (status == 0) count(*result, alignment, bytes);
  return status;
}

void* aligned_alloc(size_t alignment, size_t bytes) {
  if (!resolve() || real.aligned_alloc == nullptr) return nullptr;
  return count(real.aligned_alloc(alignment, bytes), alignment, bytes);
}

void* memalign(size_t alignment, size_t bytes) {
  if (!resolve() || real.memalign == nullptr) return nullptr;
  return count(real.memalign(alignment, bytes), alignment, bytes);
}

void* valloc(size_t bytes) { return memalign(static_cast<size_t>(sysconf(_SC_PAGESIZE)), bytes); }

void* pvalloc(size_t bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return memalign(page, (bytes + page - 1) / page * page);
}

// ------------------------------------------------------------------ what the
// process may ask

int64_t lowtide_meter_live(int64_t kind) { return counters[kind].live.load(); }
int64_t lowtide_meter_peak(int64_t kind) { return counters[kind].peak.load(); }
int64_t lowtide_meter_count(int64_t kind) { return counters[kind].count.load(); }
int64_t lowtide_meter_missed() { return missed.load(); }

// The peak starts again from what is live now.
void lowtide_meter_reset(int64_t kind) { counters[kind].peak.store(counters[kind].live.load()); }

// The peak was at least `level`: what a window around another one needs when
// the inner one ends.
void lowtide_meter_raise(int64_t kind, int64_t level) { counters[kind].raise(level); }

// Starts the log of aligned blocks (1) or of all (2), emptying it; or stops it (0).
void lowtide_meter_log(int64_t level) {
  if (level != 0) event_count.store(0);
  logging.store(static_cast<int>(level));
}

// How many events there were; more than `lowtide_meter_log_room()` means that
// the rest was dropped.
int64_t lowtide_meter_log_count() { return event_count.load(); }
int64_t lowtide_meter_log_room() { return kEvents; }
uint64_t lowtide_meter_log_address(int64_t index) { return events[index].address; }
int64_t lowtide_meter_log_bytes(int64_t index) { return events[index].bytes; }
int64_t lowtide_meter_log_kind(int64_t index) { return events[index].kind; }

}  // extern "C"
