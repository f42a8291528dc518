-- Defines the guest's methods as global functions that act on the working fork.
local names, guest, methods = ...

for _, name in ipairs(methods) do
  names[name] = function(...)
    return guest[name](guest, ...)
  end
end
