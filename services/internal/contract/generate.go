package contract

//go:generate go -C ../.. tool -modfile=../.ci/tools/go.mod buf generate
