%% What one Erlang node does in each question: the roles of roles.py, by pg.
%%
%% Orders are Erlang terms, one a line, on descriptor -orders; answers are JSON lines on -answers.
%% os:perf_counter/1 is CLOCK_MONOTONIC on Linux: one clock with all other processes.
%% pg:monitor/2 is used for waiting: woken by a change, and no polling.
-module(pg_peer).
-export([main/0]).

main() ->
    spawn(fun() ->
        try start() catch
            _:halt -> halt(0);
            Class:Why:Stack ->
                say(#{died => iolist_to_binary(io_lib:format("~p ~p ~p", [Class, Why, Stack]))}),
                halt(1)
        end
    end).

start() ->
    [Orders] = proplists:get_value(orders, init:get_arguments()),
    [Answers] = proplists:get_value(answers, init:get_arguments()),
    Port = open_port({fd, list_to_integer(Orders), list_to_integer(Answers)},
                     [binary, stream, out_in(), eof]),
    put(port, Port), put(buffer, <<>>),
    persistent_term:put(port, Port),
    [Role, Seeds, Args] = hear(),
    case Role of
        <<"former">> -> former(Seeds, Args);
        _ ->
            {ok, _} = pg:start_link(),
            [true = net_kernel:connect_node(binary_to_atom(S)) || S <- Seeds],
            say(atom_to_binary(node())),
            role(Role, Args)
    end.

out_in() -> {line, 1 bsl 20}.

%% ---------------------------------------------------------------- pipe

hear() ->
    Port = get(port),
    receive
        {Port, {data, {noeol, Part}}} -> put(buffer, <<(get(buffer))/binary, Part/binary>>), hear();
        {Port, {data, {eol, Part}}} ->
            Line = <<(get(buffer))/binary, Part/binary>>,
            put(buffer, <<>>),
            {ok, Tokens, _} = erl_scan:string(binary_to_list(Line)),
            {ok, Term} = erl_parse:parse_term(Tokens),
            Term;
        {Port, eof} -> exit(halt)
    end.

say(What) -> persistent_term:get(port) ! {self_of(), {command, [json(What), $\n]}}.

self_of() -> {connected, Pid} = erlang:port_info(persistent_term:get(port), connected), Pid.

json(X) when is_integer(X) -> integer_to_list(X);
json(X) when is_float(X) -> float_to_list(X, [{decimals, 9}, compact]);
json(X) when is_binary(X) -> [$", [case C of $" -> $'; $\n -> $ ; $\\ -> $/; _ -> C end
                                   || <<C>> <= X], $"];
json(X) when is_atom(X) -> json(atom_to_binary(X));
json(X) when is_list(X) -> [$[, lists:join($,, [json(Y) || Y <- X]), $]];
json(X) when is_map(X) ->
    [${, lists:join($,, [[json(K), $:, json(V)] || {K, V} <- maps:to_list(X)]), $}].

now_s() -> os:perf_counter(nanosecond) / 1.0e9.

cpu_s() -> {Ms, _} = statistics(runtime), Ms / 1000.

%% ---------------------------------------------------------------- helpers

met(Others) -> until(fun() -> length(nodes()) >= Others end).

until(Holds) -> case Holds() of true -> ok; false -> timer:sleep(1), until(Holds) end.

count(Group) -> length(pg:get_members(Group)).

%% Woken by pg:monitor's news; false when time is up.
saw(Group, N) -> saw(Group, fun(M) -> M =:= N end, 60000).
saw(Group, Holds, LimitMs) ->
    {Ref, Members} = pg:monitor(Group),
    Timer = erlang:send_after(LimitMs, self(), {late, Ref}),
    Done = saw_more(Ref, Group, length(Members), Holds),
    erlang:cancel_timer(Timer),
    pg:demonitor(Ref),
    Done.

saw_more(Ref, Group, N, Holds) ->
    case Holds(N) of
        true -> true;
        false ->
            receive
                {Ref, join, Group, Pids} -> saw_more(Ref, Group, N + length(Pids), Holds);
                {Ref, leave, Group, Pids} -> saw_more(Ref, Group, N - length(Pids), Holds);
                {late, Ref} -> false
            end
    end.

pad(Size) -> binary:copy(<<"x">>, max(0, Size - 16)).

idle_client() -> spawn(fun() -> receive stop -> ok end end).

channel(N) -> list_to_binary(io_lib:format("channel-~5..0b", [N])).

%% ---------------------------------------------------------------- messages

role(<<"ear">>, [Timed]) ->
    Main = self(),
    %% Off heap: what a process that is written to fast is told in the manual.
    Ear = spawn_opt(fun() -> ear(Main) end, [link, {message_queue_data, off_heap}]),
    ok = pg:join(<<"prices">>, Ear),
    say(subscribed),
    ear_orders(Ear, Timed);

role(<<"mouth">>, [Receivers, Size]) ->
    met(Receivers),
    true = saw(<<"prices">>, Receivers),
    say(ready),
    mouth(pad(Size));

role(<<"clock">>, [PerS, Size]) ->
    met(1),
    true = saw(<<"prices">>, 1),
    say(ready),
    clock(PerS, binary:copy(<<"x">>, max(0, Size - 30)));

role(<<"fan">>, [Subscribers, Burst]) ->
    Main = self(),
    [ok = pg:join(<<"prices">>, spawn_link(fun() -> local(Main, 0, 0, Burst) end))
     || _ <- lists:seq(1, Subscribers)],
    say(ready),
    fan(Subscribers, Burst, 0);

%% ---------------------------------------------------------------- memberships

role(<<"turns">>, [First, Mine, Theirs]) ->
    met(1),
    say(ready),
    {Ref, []} = pg:monitor(Theirs),
    turns(First, Mine, Theirs, Ref);

role(<<"joiner">>, [[Channels, Members]]) ->
    Rows = [{channel(N div Members), idle_client()} || N <- lists:seq(0, Channels * Members - 1)],
    met(1),
    say(ready),
    hear(),
    At = now_s(),
    [ok = pg:join(Channel, Pid) || {Channel, Pid} <- Rows],
    say(#{at => At, took_s => now_s() - At}),
    hear();

role(<<"watcher">>, [[Channels, Members], LimitS]) ->
    met(1),
    say(ready),
    End = now_s() + LimitS,
    Last = channel(Channels - 1),
    saw(Last, fun(M) -> M >= Members end, round(LimitS * 1000)),
    Names = [channel(N) || N <- lists:seq(0, Channels - 1)],
    say(#{there => settled(Names, Channels * Members, End), at => now_s()}),
    hear();

role(<<"holder">>, [Rows]) ->
    met(1),
    [ok = pg:join(Channel, idle_client()) || [Channel, _] <- Rows],
    say(joined),
    hear();

role(<<"reader">>, [Sizes, Seconds]) ->
    met(1),
    [true = saw(Channel, Size) || {Channel, Size} <- Sizes],
    say(maps:from_list([{Channel, reads(Channel, Size, Seconds)} || {Channel, Size} <- Sizes])),
    hear();

role(<<"mourner">>, [Channel, Members]) ->
    met(1),
    true = saw(Channel, Members),
    {Ref, Pids} = pg:monitor(Channel),
    say(watching),
    LimitS = hear(),
    erlang:send_after(round(LimitS * 1000), self(), {late, Ref}),
    Gone = saw_more(Ref, Channel, length(Pids), fun(N) -> N =:= 0 end),
    say(#{at => now_s(), left => case Gone of true -> 0; false -> count(Channel) end}),
    hear();

role(<<"sleeper">>, [Nodes]) ->
    met(Nodes - 1),
    ok = pg:join(<<"prices">>, idle_client()),
    true = saw(<<"prices">>, Nodes),
    say(settled),
    hear().

former(Seeds, [Nodes]) ->
    say(waiting),
    hear(),
    {ok, _} = pg:start_link(),
    ok = pg:join(<<"all">>, idle_client()),
    [dialled(binary_to_atom(S)) || S <- Seeds],
    true = saw(<<"all">>, Nodes),
    say(now_s()),
    hear().

dialled(Node) ->
    case net_kernel:connect_node(Node) of
        true -> ok;
        _ -> timer:sleep(1), dialled(Node)
    end.

settled(Names, Wanted, End) ->
    There = lists:sum([count(Name) || Name <- Names]),
    case There >= Wanted orelse now_s() >= End of
        true -> There;
        false -> timer:sleep(5), settled(Names, Wanted, End)
    end.

ear(Main) ->
    receive
        {expect, 0, Expected} ->
            Main ! listening,
            At = cpu_s(),
            {Received, Disordered} = counted(Expected, 0, 0, 0),
            Main ! {told, #{at => now_s(), cpu_us => (cpu_s() - At) / Expected * 1.0e6,
                            lost => Expected - Received, disordered => Disordered}},
            ear(Main);
        {expect, _, Expected} ->
            Main ! listening,
            Main ! {told, timed(Expected, [])},
            ear(Main)
    end.

counted(Expected, Next, Received, Disordered) ->
    receive
        #{n := N, pad := Pad} when is_binary(Pad) ->
            Wrong = case N of Next -> Disordered; _ -> Disordered + 1 end,
            case N + 1 of
                Expected -> {Received + 1, Wrong};
                Following -> counted(Expected, Following, Received + 1, Wrong)
            end
    after 20000 -> {Received, Disordered}
    end.

timed(Expected, Late) ->
    receive
        #{n := N, at := At} ->
            More = [now_s() - At | Late],
            case N + 1 of Expected -> lists:reverse(More); _ -> timed(Expected, More) end
    after 20000 -> lists:reverse(Late)
    end.

ear_orders(Ear, Timed) ->
    case hear() of
        none -> ok;
        Expected ->
            Ear ! {expect, Timed, Expected},
            receive listening -> say(listening) end,
            receive {told, Report} -> say(Report) end,
            ear_orders(Ear, Timed)
    end.

mouth(Pad) ->
    case hear() of
        none -> ok;
        Messages ->
            At = now_s(), Cpu = cpu_s(),
            publish(0, Messages, Pad),
            say(#{at => At, cpu_us => (cpu_s() - Cpu) / Messages * 1.0e6}),
            mouth(Pad)
    end.

publish(N, N, _) -> ok;
publish(N, Messages, Pad) ->
    Message = #{n => N, pad => Pad},
    [Pid ! Message || Pid <- pg:get_members(<<"prices">>)],
    publish(N + 1, Messages, Pad).

clock(PerS, Pad) ->
    case hear() of
        none -> ok;
        Messages ->
            ticks(now_s(), 0, Messages, PerS, Pad),
            say(published),
            clock(PerS, Pad)
    end.

ticks(_, N, N, _, _) -> ok;
ticks(Start, N, Messages, PerS, Pad) ->
    case Start + N / PerS - now_s() of
        Left when Left > 0 -> timer:sleep(max(0, round(Left * 1000)));
        _ -> ok
    end,
    [Pid ! #{n => N, at => now_s(), pad => Pad} || Pid <- pg:get_members(<<"prices">>)],
    ticks(Start, N + 1, Messages, PerS, Pad).

local(Main, Next, Wrong, Burst) ->
    receive
        #{n := N} ->
            Bad = case N of Next -> Wrong; _ -> Wrong + 1 end,
            case (N + 1) rem Burst of
                0 -> Main ! {heard, Bad}, local(Main, N + 1, 0, Burst);
                _ -> local(Main, N + 1, Bad, Burst)
            end
    end.

fan(Subscribers, Burst, First) ->
    case hear() of
        none -> ok;
        Messages ->
            At = now_s(),
            Wrong = bursts(Messages div Burst, Subscribers, Burst, First, 0),
            say(#{took_s => now_s() - At, lost => 0, disordered => Wrong}),
            fan(Subscribers, Burst, First + Messages)
    end.

bursts(0, _, _, _, Wrong) -> Wrong;
bursts(Left, Subscribers, Burst, First, Wrong) ->
    publish(First, First + Burst, pad(100)),
    Bad = heard(Subscribers, 0),
    bursts(Left - 1, Subscribers, Burst, First + Burst, Wrong + Bad).

heard(0, Wrong) -> Wrong;
heard(Left, Wrong) -> receive {heard, Bad} -> heard(Left - 1, Wrong + Bad) end.

turns(First, Mine, Theirs, Ref) ->
    case hear() of
        none -> ok;
        [Rounds, PaceS] ->
            Stamps = rounds(Rounds, First, Mine, Theirs, Ref, round(PaceS * 1000), #{}),
            say(maps:map(fun(_, V) -> lists:reverse(V) end, Stamps)),
            turns(First, Mine, Theirs, Ref)
    end.

rounds(0, _, _, _, _, _, Stamps) -> Stamps;
rounds(Left, First, Mine, Theirs, Ref, PaceMs, Stamps) ->
    Joined = half(join, First, Mine, Theirs, Ref, PaceMs, Stamps),
    rounds(Left - 1, First, Mine, Theirs, Ref, PaceMs,
           half(leave, First, Mine, Theirs, Ref, PaceMs, Joined)).

half(Verb, 1, Mine, Theirs, Ref, PaceMs, Stamps) ->
    Wrote = wrote(Verb, Mine, Stamps),
    Seen = seen(Verb, Theirs, Ref, Wrote),
    timer:sleep(PaceMs),
    Seen;
half(Verb, 0, Mine, Theirs, Ref, _, Stamps) ->
    wrote(Verb, Mine, seen(Verb, Theirs, Ref, Stamps)).

wrote(Verb, Mine, Stamps) ->
    At = now_s(),
    ok = pg:Verb(Mine, self()),
    stamp(Verb, <<"_at">>, At, Stamps).

seen(Verb, Theirs, Ref, Stamps) ->
    receive {Ref, Verb, Theirs, [_]} -> stamp(Verb, <<"_seen">>, now_s(), Stamps) end.

stamp(Verb, What, At, Stamps) ->
    Key = <<(atom_to_binary(Verb))/binary, What/binary>>,
    Stamps#{Key => [At | maps:get(Key, Stamps, [])]}.

reads(Channel, Size, Seconds) ->
    Start = now_s(),
    Calls = reads(Channel, Size, Start + Seconds, 0),
    Calls / (now_s() - Start).

reads(Channel, Size, End, Calls) ->
    [Size = length(pg:get_members(Channel)) || _ <- lists:seq(1, 100)],
    case now_s() >= End of true -> Calls + 100; false -> reads(Channel, Size, End, Calls + 100) end.
