package order

import (
	"fmt"
	"log/slog"
)

// engineLog passes the workflow client's log on. Its infos are details here.
type engineLog struct{ log *slog.Logger }

func (l engineLog) Debug(v ...any)                 { l.log.Debug(fmt.Sprint(v...)) }
func (l engineLog) Debugf(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l engineLog) Info(v ...any)                  { l.log.Debug(fmt.Sprint(v...)) }
func (l engineLog) Infof(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l engineLog) Warn(v ...any)                  { l.log.Warn(fmt.Sprint(v...)) }
func (l engineLog) Warnf(format string, v ...any)  { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l engineLog) Error(v ...any)                 { l.log.Error(fmt.Sprint(v...)) }
func (l engineLog) Errorf(format string, v ...any) { l.log.Error(fmt.Sprintf(format, v...)) }
